"""Complex tensors inside real objectives: Fourier transforms and their arithmetic, against PyTorch's values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import epigraph
from epigraph.errors import CaptureError
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.lowering.complexes import COMPLEX
from epigraph.objective.objective import Objective

fft = torch.fft
C = torch.randn(3, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))
R = torch.linspace(0.5, 1.5, 24, dtype=torch.float64).reshape(3, 8)


def _both(z: Tensor) -> Tensor:
    """A linear functional that sees every real and imaginary part."""
    flat = torch.view_as_real(z.resolve_conj().contiguous()).reshape(-1)
    return (flat * torch.linspace(0.3, 2.0, flat.numel(), dtype=torch.float64)).sum()


def _real(x: Tensor) -> Tensor:
    return (x.reshape(-1) * torch.linspace(0.3, 2.0, x.numel(), dtype=torch.float64)).sum()


PROGRAMS: dict[str, Callable[[Tensor], Tensor]] = {
    "power spectrum": lambda w: (fft.rfft(w).abs() ** 2).sum(),
    "energy": lambda w: fft.fft(w).abs().square().mean(),
    "real part": lambda w: _real(fft.fft(w).real),
    "imaginary part": lambda w: _real(fft.rfft(w).imag),
    "modulus": lambda w: fft.rfft(w).abs().sum(),
    "inverse": lambda w: _real(fft.irfft(fft.rfft(w) * (1 + 2j))),
    "odd length": lambda w: _real(fft.irfft(fft.rfft(w[:, :7]), n=7)),
    "longer and shorter": lambda w: _both(fft.rfft(w, n=11)) + _both(fft.fft(w, n=5, dim=-1)),
    "other dimensions": lambda w: _both(fft.fft(w, dim=0)) + _both(fft.ifft(w, dim=0)),
    "norms": lambda w: (
        sum((_both(fft.rfft(w, norm=n)) for n in ("ortho", "forward", "backward")), w.sum())
        + sum(_real(fft.irfft(fft.rfft(w, norm=n) ** 2, norm=n)) for n in ("ortho", "forward", "backward"))
    ),
    "two dimensions": lambda w: _both(fft.fft2(w)) + _both(fft.ifft2(w)) + _both(fft.rfft2(w)),
    "several dimensions": lambda w: (
        _both(fft.fftn(w.reshape(3, 2, 4))) + _both(fft.rfftn(w.reshape(3, 2, 4), s=(3, 4), dim=(0, 2)))
    ),
    "inverses over several": lambda w: (
        _real(fft.irfft2(fft.rfft2(w) * C[:, :5])) + _real(fft.irfftn(fft.rfftn(w))) + _both(fft.ifftn(fft.fftn(w) * C))
    ),
    "shifts": lambda w: _both(fft.fftshift(fft.fft(w))) + _both(fft.ifftshift(fft.fft(w), dim=0)),
    "convolution by transforms": lambda w: _real(fft.irfft(fft.rfft(w) * fft.rfft(R))),
    "constants": lambda w: _both(fft.fft(w) * C + C) + _both(C @ fft.fft(w).mT),
    "arithmetic": lambda w: _both(fft.fft(w) * fft.fft(R).conj() - 2 * fft.fft(w) / 3),
    "sums": lambda w: (
        _both(fft.fft(w) + 3) + _both(2 - fft.fft(w)) + _both((1 - 2j) + torch.arange(8) + fft.fft(w) - w)
    ),
    "joined with others": lambda w: (
        _both(torch.cat([fft.fft(w), torch.arange(8)[None], w], 0)) + _both(torch.stack([C, fft.fft(w)]))
    ),
    "casts": lambda w: _both(w.to(torch.complex128) * 1j) + _both(fft.fft(w)[torch.tensor([2, 0])]),
    "quotient": lambda w: _both(fft.fft(w) / (C * 1j)),
    "powers": lambda w: _both(fft.fft(w) ** 3) + _both(fft.fft(w).square()),
    "views": lambda w: _both(torch.view_as_complex(w.reshape(3, 4, 2)).t().reshape(2, 6)),
    "polar": lambda w: _both(torch.polar(w * w + 1, w)) + _both(torch.complex(w, -w)),
    "layout": lambda w: _both(torch.cat([fft.fft(w)[1:], fft.fft(w)[:, ::2].repeat(1, 2)], 0).flip(0).unsqueeze(1)),
    "reductions": lambda w: _both(fft.fft(w).sum(0)) + _both(fft.fft(w).mean(1)) + _real(fft.fft(w).sum().abs()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients(name):
    function = PROGRAMS[name]
    generator = torch.Generator().manual_seed(1)
    point = {"w": torch.randn(3, 8, generator=generator, dtype=torch.float64)}
    graph = Objective.from_function(function, point).graph()
    assert not [n for n in graph if n.op == "opaque"]
    for scale in (0.1, 1.0, 10.0):
        ours, theirs = (
            (scale * torch.randn(3, 8, generator=generator, dtype=torch.float64)).requires_grad_() for _ in range(2)
        )
        theirs = ours.detach().clone().requires_grad_()
        found, expected = Evaluator(graph)({"w": ours}), function(theirs)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        pairs = zip(torch.autograd.grad(found, ours), torch.autograd.grad(expected, theirs), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


def test_every_rule_is_used(monkeypatch):
    """The table calls every complex rule, except those of operators that are twins of one in it."""
    used: set[str] = set()
    for name, rule in list(COMPLEX.items()):
        monkeypatch.setitem(COMPLEX, name, lambda *a, rule=rule, name=name: (used.add(name), rule(*a))[1])
    for name in ("power spectrum", "inverse", "two dimensions", "arithmetic", "views", "shifts", "powers"):
        Objective.from_function(PROGRAMS[name], {"w": torch.ones(3, 8, dtype=torch.float64)}).graph()
    wanted = {"fft_rfft", "fft_irfft", "fft_fft2", "mul", "abs", "view_as_complex", "fft_fftshift", "pow"}
    assert wanted <= {n.split(".")[1] for n in used}


def test_the_energy_of_a_spectrum_is_convex():
    target = torch.linspace(0, 1, 8, dtype=torch.float64)
    J = Objective.from_function(lambda w: ((fft.rfft(w) - fft.rfft(target)).abs() ** 2).sum(), {"w": torch.zeros(8)})
    assert epigraph.check(J).convex == "proved"


def test_the_product_of_two_spectra_is_not():
    J = Objective.from_function(
        lambda u, v: (fft.irfft(fft.rfft(u) * fft.rfft(v)) - 1).square().sum(),
        {"u": torch.ones(6, dtype=torch.float64), "v": torch.ones(6, dtype=torch.float64)},
    )
    v = epigraph.check(J)
    assert v.verdict == "nonconvex"
    assert all(b.convex == "proved" for b in v.blocks.values())


def test_what_has_no_real_form_is_refused():
    with pytest.raises(CaptureError) as caught:
        Objective.from_function(lambda w: fft.fft(w).angle().sum(), {"w": torch.ones(4)}).graph()
    assert caught.value.code == "E308"


def test_the_second_tier_refuses_complex_numbers():
    def looks(w: Tensor) -> Tensor:
        return fft.fft(w).abs().sum() if bool((w * 0 + 1).sum() > 0) else w.sum()

    with pytest.raises(CaptureError) as caught:
        Objective.from_function(looks, {"w": torch.ones(4)}).graph()
    assert caught.value.code == "E308"
