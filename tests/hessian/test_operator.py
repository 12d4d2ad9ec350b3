"""Products against a dense Hessian that shares no code with the operator; the user's world; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spectrum_cases import CASES, mlp, uneven_loader
from torch import Tensor, nn

import epigraph
from epigraph.errors import ObjectiveError, UsageError
from epigraph.hessian.engines import ENGINES, choose
from epigraph.hessian.program import Program

ROOM = {torch.float64: 1e-11, torch.float32: 5e-5}


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-300))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_the_matrix_is_the_dense_hessian(name: str, dtype: torch.dtype, unchanged) -> None:
    case = CASES[name](dtype)
    exact = case.dense()
    with unchanged(*case.J.modules()):
        H = epigraph.hessian(case.J)
        assert _apart(H.to_dense(), exact) < ROOM[dtype]
        gradient = torch.cat([g.reshape(-1) for g in torch.func.grad(case.oracle)(_point(case)).values()])
        assert float((H.gradient.double() - gradient).norm()) <= 100 * ROOM[dtype] * max(1.0, float(gradient.norm()))
        assert H.value == pytest.approx(float(case.oracle(_point(case))), rel=1e-5)


def _point(case) -> dict[str, Tensor]:
    return {k: v.detach().double() for k, v in case.J.parameters.items()}


@pytest.mark.parametrize("name", CASES)
def test_double_precision_of_a_single_precision_program(name: str, unchanged) -> None:
    case = CASES[name](torch.float32)
    case.oracle(_point(case))
    with unchanged(*case.J.modules()):
        H = epigraph.hessian(case.J, dtype="float64")
        # the oracle's data was rounded to float32 in the program: the matrices agree to that only
        assert H.dtype == torch.float64 and _apart(H.to_dense(), case.dense()) < 2e-6
        assert float((H.to_dense() - H.to_dense().T).abs().max()) < 1e-12


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_all_engines_agree(name: str, engine: str, unchanged) -> None:
    case = CASES[name](torch.float64)
    v = torch.randn(epigraph.hessian(case.J, engine="backward").n, generator=torch.Generator().manual_seed(0)).double()
    exact = case.dense() @ v
    with unchanged(*case.J.modules()):
        try:
            H = epigraph.hessian(case.J, engine=engine)
        except ObjectiveError as error:
            assert engine == "forward" and "ZeroTensor" in str(error)  # mse_loss, in PyTorch itself
            return
        assert _apart(H @ v, exact) < 1e-11


def test_blocks_in_any_order() -> None:
    case = mlp(torch.float64)
    names = ["2.bias", "0.weight"]
    assert _apart(epigraph.hessian(case.J, blocks=names).to_dense(), case.dense(names)) < 1e-11
    assert _apart(epigraph.hessian(case.J, blocks="0.bias").to_dense(), case.dense(["0.bias"])) < 1e-11


def test_uneven_batches_weigh_by_their_samples() -> None:
    case = uneven_loader(torch.float32)
    v = torch.randn(epigraph.hessian(case.J).n, generator=torch.Generator().manual_seed(1))
    assert _apart(epigraph.hessian(case.J) @ v, case.dense() @ v.double()) < 1e-6


def test_another_point_is_a_copy() -> None:
    case = mlp(torch.float64)
    at = {"0.weight": torch.full((5, 4), 0.25)}  # in another precision: converted
    H = epigraph.hessian(case.J, at=at)
    moved = {**_point(case), "0.weight": at["0.weight"].double()}
    slope = torch.func.grad(case.oracle)(moved)
    before = H.to_dense()
    with torch.no_grad():
        for p in case.J.parameters.values():
            p.add_(1.0)
    assert torch.equal(H.to_dense(), before)
    assert torch.allclose(H.gradient, torch.cat([slope[n].reshape(-1) for n in H.names]), atol=1e-12)


def test_operands_of_every_kind() -> None:
    case = mlp(torch.float64)
    H, dense = epigraph.hessian(case.J), case.dense()
    v = torch.randn(H.n, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    named = dict(zip(H.names, H.unflatten(v[:, 0]), strict=True))
    assert torch.allclose(H @ v, dense @ v) and (H @ v[:, :0]).shape == (H.n, 0)
    assert torch.allclose(H.flatten([(H @ named)[n] for n in H.names]), dense @ v[:, 0])
    out = H @ v.numpy()
    assert isinstance(out, np.ndarray) and np.allclose(out, (dense @ v).numpy())
    assert (H @ v.float()).dtype == torch.float32
    operator = H.to_scipy()
    assert np.allclose(operator @ v.numpy(), out) and np.allclose(operator.matvec(v[:, 1].numpy()), out[:, 1])
    for wrong in (torch.ones(H.n + 1), torch.ones(2, 2, 2), "v", {"0.weight": torch.ones(5, 4)}, {**named, "x": v}):
        with pytest.raises(UsageError, match="E025"):
            H @ wrong
    with pytest.raises(UsageError, match="limit"):
        H.to_dense(limit=10)


def test_ambient_modes_do_not_reach_the_products() -> None:
    case = mlp(torch.float32)
    expected = epigraph.hessian(case.J, engine="retained") @ torch.ones(43)
    for engine in ENGINES:
        for ambient in (torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)):
            with ambient():
                out = epigraph.hessian(case.J, engine=engine) @ torch.ones(43)
                top = epigraph.spectrum(case.J, top=1, bottom=0).top[0]
            assert _apart(out, expected) < 1e-5 and top.converged


def test_parameters_in_half_precision() -> None:
    model = nn.Linear(3, 1, bias=False).to(torch.bfloat16)
    x, y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16), torch.zeros(20, 1)
    J = epigraph.Objective(model, lambda out, y: (out - y).pow(2).mean(), x, y)
    exact = torch.linalg.eigvalsh(2 * x.double().T @ x.double() / 20)
    rough, sharp = epigraph.spectrum(J, top=1, bottom=1), epigraph.spectrum(J, top=1, bottom=1, dtype="float64")
    assert abs(sharp.top[0].value - exact[-1]) < 1e-12 * exact[-1]
    assert abs(rough.top[0].value - exact[-1]) <= rough.top[0].error and rough.noise > 1e-3


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


HIDDEN = {
    "a constant to autograd": lambda w: _Once.apply(w).sum(),
    "an error of autograd": lambda w: _Once.apply(w**2).sum(),
    "detach": lambda w: (w * (w**2).detach()).sum() + 10 * (w**2).sum(),
    "straight through": lambda w: ((w + (w.sin() - w).detach()) ** 2).sum(),
}


@pytest.mark.parametrize("engine", [None, *ENGINES])
@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_second_derivative_is_an_error(name: str, engine: str | None) -> None:
    for dtype in (torch.float32, torch.float64):
        points = {"w": torch.linspace(0.5, 1.5, 3, dtype=dtype)}
        with pytest.raises(ObjectiveError, match=r"E21[56]"):
            epigraph.hessian(epigraph.Objective.from_function(HIDDEN[name], points), engine=engine)


def test_kinks_are_no_hidden_derivative() -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3))
        J = epigraph.Objective(model, F.cross_entropy, torch.randn(500, 5), torch.randint(3, (500,)))
        epigraph.hessian(J)


def test_kinks_near_the_point_are_no_hidden_derivative() -> None:
    """A network with many units has some kink within any step but the smallest."""
    kinks = torch.tensor([1 + 3e-5, 1 + 3e-8], dtype=torch.float64)
    J = epigraph.Objective.from_function(
        lambda w: F.relu(w - kinks).sum() + w**2, {"w": torch.ones((), dtype=torch.float64)}
    )
    assert float(epigraph.hessian(J).to_dense()) == 2.0


def test_a_cast_inside_the_model_is_no_hidden_derivative() -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 5), nn.Linear(5, 4).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).tanh().double()).float()

    torch.manual_seed(0)
    J = epigraph.Objective(Cast(), F.cross_entropy, torch.randn(9, 3), torch.randint(4, (9,)))
    assert epigraph.hessian(J).n == 44


def test_a_wrong_second_derivative_of_an_operator_is_an_error() -> None:
    """That of torch._weight_norm, which torch.autograd.gradgradcheck refuses as well."""
    torch.manual_seed(0)
    v, g = (torch.randn(4, k, dtype=torch.float64, requires_grad=True) for k in (3, 1))
    if torch.autograd.gradgradcheck(lambda v, g: torch._weight_norm(v, g, 0).sin(), (v, g), raise_exception=False):
        pytest.skip("this version of torch has it right")
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    J = epigraph.Objective(model, F.cross_entropy, torch.randn(9, 3), torch.randint(4, (9,)))
    with pytest.raises(ObjectiveError, match="E216"):
        epigraph.hessian(J)


def test_a_second_derivative_of_zero_is_no_disagreement() -> None:
    """Of (x - y)^4 on x = y: what differences of gradients leave is of the order of the step squared."""
    J = epigraph.Objective.from_function(lambda x, y: (x - y) ** 4, {"x": torch.tensor(1.0), "y": torch.tensor(1.0)})
    assert not epigraph.hessian(J, dtype="float64").to_dense().any()


def test_what_is_not_finite_is_an_error() -> None:
    J = epigraph.Objective.from_function(lambda w: w.abs().sqrt().sum(), {"w": torch.tensor([0.0, 1.0])})
    with pytest.raises(ObjectiveError, match="E214"):
        epigraph.spectrum(J, top=1, bottom=0)
    with pytest.raises(ObjectiveError, match="E214"):
        epigraph.trace(J)
    with pytest.raises(ObjectiveError, match="E214"):
        epigraph.density(J)
    with pytest.raises(ObjectiveError, match="E214"):
        epigraph.hessian(J).gradient  # noqa: B018


def test_what_is_no_function_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    J = epigraph.Objective(model, nn.MSELoss(), torch.ones(4, 3), torch.ones(4, 1), mode="train")
    with pytest.raises(ObjectiveError, match="E207"):
        epigraph.hessian(J)
    K = epigraph.Objective(nn.Linear(3, 1), nn.MSELoss(), torch.ones(4, 2), torch.ones(4, 1))
    with pytest.raises(ObjectiveError, match="E206"):
        epigraph.hessian(K)


def test_wrong_calls() -> None:
    J = mlp(torch.float64).J
    for call in (
        lambda: epigraph.hessian(J, dtype="float16"),
        lambda: epigraph.hessian(J, engine="fast"),
        lambda: epigraph.hessian(J, blocks=["nothing"]),
        lambda: epigraph.hessian(J, blocks=[]),
        lambda: epigraph.hessian(J, at={"0.weight": torch.ones(2)}),
        lambda: epigraph.hessian(nn.Linear(1, 1)),
        lambda: epigraph.spectrum(J, top=0, bottom=0),
        lambda: epigraph.trace(J, tol=0.0),
        lambda: epigraph.density(J, probes=0),
        lambda: epigraph.hessian(epigraph.Objective.from_function(lambda w: w.sum(), {"w": torch.zeros(0)})),
    ):
        with pytest.raises(UsageError):
            call()


def test_kept_graphs_that_do_not_fit_are_not_kept() -> None:
    J = mlp(torch.float64).J
    program = Program(J, tuple(J.parameters))
    assert choose(program, room=10.0)[0].name in ("backward", "forward")
    assert choose(program)[0].name == "retained"


def test_recurrent_and_normalised_networks_match_float64_differences() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cell(x)[0][:, -1])

    torch.manual_seed(0)
    model = Recurrent().double()
    x, y = torch.randn(5, 4, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    J = epigraph.Objective(model, F.cross_entropy, x, y)
    H = epigraph.hessian(J)
    v = torch.randn(H.n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    slopes = []
    for sign in (1, -1):
        steps = dict(zip(H.names, H.unflatten(v), strict=True))
        at = {k: p.detach() + sign * 1e-5 * steps[k] for k, p in J.parameters.items()}
        slopes.append(epigraph.hessian(J, at=at).gradient)
    assert _apart(H @ v, (slopes[0] - slopes[1]) / 2e-5) < 1e-7
