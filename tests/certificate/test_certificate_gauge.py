"""Fields along which J stays the same, against PyTorch, and claims about orbits of critical points."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from certificate_builder import Builder
from certificate_hessians import common
from certificate_isolated import function, names_of
from certificate_samples import Draft
from test_certificate_mutations import mutate

from epigraph.certificate import format, gauge, isolation, shapes
from epigraph.certificate.format import Stored
from epigraph.certificate.motion import Generator, Moves, motion, require_still
from epigraph.certificate.reverse import NoGradient, gradient
from epigraph.certificate.verify import verify, verify_here
from epigraph.errors import CertificateError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3))


def matrix(axis: int, m: Any) -> Any:
    return motion(0, {axis: np.array(m, np.int64)})


def unit(n: int, i: int, j: int, sign: int = 1) -> np.ndarray:
    m = np.zeros((n, n), np.int64)
    m[i, j] = sign
    return m


def layers(b: Builder, activation: str | None, bias: bool = True, classes: int = 2) -> int:
    """X -> 2 units -> ``classes`` outputs."""
    w, v = b.parameter("w", RNG.standard_normal((2, 3))), b.parameter("v", RNG.standard_normal((classes, 2)))
    c = b.parameter("c", RNG.standard_normal(2)) if bias else None
    d = b.parameter("d", RNG.standard_normal(classes)) if bias else None
    x = b.data("x", X)
    h = b.linear(x, w, c)
    return b.linear(h if activation is None else b(activation, h), v, d)


def squared(b: Builder, z: int) -> None:
    error = b.sub(z, b.data("t", RNG.standard_normal(tuple(b.shape(z)))))
    b.mean(b("mul", error, error), [0, 1])


def entropy(b: Builder, z: int, whole: bool) -> None:
    """Cross-entropy by log_softmax, or by log-sum-exp less the entry of the class, as frameworks are lowered."""
    labels = RNG.integers(0, b.shape(z)[1], len(X))
    if whole:
        hot = np.eye(b.shape(z)[1])[labels]
        b.mean(b("mul", b("log_softmax", z, dim=1), b.data("hot", -hot)), [0, 1])
        return
    flat = b("reshape", z, shape=[int(np.prod(b.shape(z)))])
    index = b.data("index", np.arange(len(X)) * b.shape(z)[1] + labels, "index")
    b.mean(b.sub(b("logsumexp", z, dims=[1]), b("take", flat, index, dim=0)), [0])


def relu() -> tuple[Builder, Generator]:
    b = Builder()
    squared(b, layers(b, "relu"))
    return b, {"w": matrix(0, unit(2, 0, 0)), "c": matrix(0, unit(2, 0, 0)), "v": matrix(1, unit(2, 0, 0, -1))}


def general_linear() -> tuple[Builder, Generator]:
    b = Builder()
    squared(b, layers(b, None))
    m = np.array([[1, 2], [-3, 1]])
    return b, {"w": matrix(0, m), "c": matrix(0, m), "v": matrix(1, -m.T)}


def rotation() -> tuple[Builder, Generator]:
    """With weight decay on both."""
    b = Builder()
    squared(b, layers(b, None, bias=False))
    loss, (w, v) = len(b.nodes) - 1, [k for k, n in enumerate(b.nodes) if n["op"] == "parameter"]
    decay = b("add", b("sum", b("mul", w, w), dims=[0, 1]), b("sum", b("power", v, exponent="2"), dims=[0, 1]))
    b("add", loss, b("mul", decay, b.scalar("1/20")))
    m = np.array([[0, 1], [-1, 0]])
    return b, {"w": matrix(0, m), "v": matrix(1, m)}


def shift(whole: bool, of_bias: bool) -> tuple[Builder, Generator]:
    b = Builder()
    entropy(b, layers(b, "tanh", classes=3), whole)
    if of_bias:
        return b, {"d": motion(0, {}, np.ones(3, np.int64))}
    return b, {"v": motion(0, {}, np.array([[1, 0]] * 3))}


def product() -> tuple[Builder, Generator]:
    """(1 - w0 w1^2)^2 + |w0| w1^2 / 4: two entries of one vector."""
    b = Builder()
    w = b.parameter("w", np.array([1.5, 0.5]))
    first, second = (b("reshape", b("slice", w, dim=0, start=k, stop=k + 1, step=1), shape=[]) for k in (0, 1))
    both = b("mul", first, b("power", second, exponent="2"))
    error = b.sub(b.scalar("1"), both)
    b("add", b("mul", error, error), b("mul", b("mul", b("abs", first), b("mul", second, second)), b.scalar("1/4")))
    return b, {"w": matrix(0, np.diag([2, -1]))}


GOOD: Mapping[str, Callable[[], tuple[Builder, Generator]]] = {
    "a unit of relu": relu,
    "the basis of a linear layer": general_linear,
    "a rotation under decay": rotation,
    "logits by log_softmax, weights": lambda: shift(True, False),
    "logits by log_softmax, bias": lambda: shift(True, True),
    "logits by logsumexp, weights": lambda: shift(False, False),
    "logits by logsumexp, bias": lambda: shift(False, True),
    "a product": product,
}


def speed(b: Builder, generator: Generator) -> float:
    """The derivative of J along the field, relative to the sizes, by PyTorch."""
    names = names_of(b)
    f = function(b.graph(), b.arrays, names)
    x = torch.cat([torch.tensor(b.arrays[n]).reshape(-1) for n in names])
    slope = torch.autograd.functional.jacobian(f, x).numpy()
    velocity = gauge.velocity(generator, b.arrays, names)
    return abs(float(slope @ velocity)) / (float(np.abs(slope) @ np.abs(velocity)) + 1e-300)


def still(b: Builder, generator: Generator) -> bool:
    try:
        require_still(shapes.program(b.graph(), shapes.metas(b.arrays)), b.arrays, generator)
    except Moves:
        return False
    return True


@pytest.mark.parametrize("name", GOOD)
def test_symmetries_are_proved(name: str) -> None:
    b, generator = GOOD[name]()
    assert speed(b, generator) < 1e-12 and still(b, generator)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_accepted_is_a_symmetry(name: str) -> None:
    """Fields drawn at random, near the true ones and far: what the rules accept PyTorch sees as a symmetry."""
    rng = np.random.default_rng(1)
    accepted = 0
    for _ in range(80):
        b, generator = GOOD[name]()
        changed: dict[str, Any] = {}
        for n in names_of(b):
            shape = b.arrays[n].shape
            kind = rng.integers(0, 5)
            if kind <= 1 and n in generator:
                changed[n] = generator[n]
            elif kind == 2:
                axis = int(rng.integers(0, len(shape)))
                changed[n] = matrix(axis, rng.integers(-1, 2, (shape[axis], shape[axis])))
            elif kind == 3:
                changed[n] = motion(0, {}, np.broadcast_to(rng.integers(-1, 2, shape[1:]), shape))
            elif kind == 4 and n in generator:
                g = generator[n]
                changed[n] = motion(-g.scale, {k: -m for k, m in g.axes.items()}, g.shift)
        if changed and still(b, changed):
            accepted += 1
            assert speed(b, changed) < 1e-12 or not gauge.velocity(changed, b.arrays, names_of(b)).any()
    assert accepted > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda b, z: b("tanh", z),
        lambda b, z: b("softplus", z),
        lambda b, z: b("add", z, b.scalar("1")),
        lambda b, z: b("mul", z, z),
        lambda b, z: b("maximum", z, b.scalar("0")),
        lambda b, z: b("piecewise", z, knots=["1"], pieces=[["0", "1"], ["-1", "2"]]),
        lambda b, z: b("elu", z, alpha="1"),
    ],
)
def test_other_activations_are_not_rescaled(change: Callable[[Builder, int], int]) -> None:
    b = Builder()
    w, v = b.parameter("w", RNG.standard_normal((2, 3))), b.parameter("v", RNG.standard_normal((1, 2)))
    squared(b, b.linear(change(b, b.linear(b.data("x", X), w)), v))
    assert not still(b, {"w": matrix(0, unit(2, 0, 0)), "v": matrix(1, unit(2, 0, 0, -1))})


def _turned_units() -> tuple[Builder, Generator]:
    b = Builder()
    squared(b, layers(b, "relu", bias=False))
    m = np.array([[0, 1], [-1, 0]])
    return b, {"w": matrix(0, m), "v": matrix(1, m)}


def _turned_columns() -> tuple[Builder, Generator]:
    """sum of tanh over columns of the squares in each column, the columns turned."""
    b = Builder()
    w = b.parameter("w", RNG.standard_normal((3, 2)))
    b("sum", b("tanh", b("sum", b("mul", w, w), dims=[0])), dims=[0])
    return b, {"w": matrix(1, [[0, 1], [-1, 0]])}


def _scaled_logits() -> tuple[Builder, Generator]:
    b = Builder()
    entropy(b, layers(b, "tanh", classes=3), True)
    return b, {"v": motion(1, {}), "d": motion(1, {})}


def _one_logit(whole: bool, of_bias: bool) -> tuple[Builder, Generator]:
    b, generator = shift(whole, of_bias)
    ((name, _),) = generator.items()
    return b, {name: motion(0, {}, np.array([1, 0, 0]) if of_bias else np.array([[1, 0], [0, 0], [0, 0]]))}


def _uneven() -> tuple[Builder, Generator]:
    b, _ = shift(True, False)
    return b, {"v": motion(0, {}, np.array([[1, 0]] * 3)), "d": motion(0, {}, np.array([1, 2, 1]))}


def _other_samples() -> tuple[Builder, Generator]:
    """log-sum-exp of each sample less an entry of another one: the unknown shifts are not the same."""
    b = Builder()
    z = layers(b, "tanh", classes=3)
    flat = b("reshape", z, shape=[3 * len(X)])
    index = b.data("index", np.roll(np.arange(len(X)), 1) * 3, "index")
    b.mean(b("softplus", b.sub(b("logsumexp", z, dims=[1]), b("take", flat, index, dim=0))), [0])
    return b, {"v": motion(0, {}, np.array([[1, 0]] * 3))}


def _half_of_a_unit() -> tuple[Builder, Generator]:
    b, generator = relu()
    return b, {k: generator[k] for k in ("w", "v")}


BAD: Mapping[str, Callable[[], tuple[Builder, Generator]]] = {
    "units of relu turned": _turned_units,
    "columns turned, rows summed": _turned_columns,
    "logits scaled": _scaled_logits,
    "weights of one logit": lambda: _one_logit(True, False),
    "weights of one logit, logsumexp": lambda: _one_logit(False, False),
    "bias of one logit": lambda: _one_logit(True, True),
    "bias of one logit, logsumexp": lambda: _one_logit(False, True),
    "biases by different amounts": _uneven,
    "logits of other samples": _other_samples,
    "a unit without its bias": _half_of_a_unit,
}


@pytest.mark.parametrize("name", BAD)
def test_fields_along_which_j_moves(name: str) -> None:
    b, generator = BAD[name]()
    assert speed(b, generator) > 1e-6 and not still(b, generator)


def test_integers_that_would_wrap_are_refused() -> None:
    """x multiplied by itself 64 times over: the exponents would be 2^64 = 0 in 64 bits."""
    b = Builder()
    x = b.parameter("x", np.array([1.0, 1.0]))
    for _ in range(64):
        x = b("mul", x, x)
    b("sum", x, dims=[0])
    assert not still(b, {"x": matrix(0, np.diag([0, 1]))})
    with pytest.raises(Moves):
        motion(0, {}, np.array([2**40]))


# claims -------------------------------------------------------------------------------------------------------------
def autoencoder(point: float = 1.0) -> Builder:
    """1/2 (1 - u v)^2 + 1/2 u^2 v^2 s^2 + (z - 1)^2: critical along u v = 1 / (1 + s^2), z = 1."""
    b = Builder()
    u, v, z = (b.parameter(n, np.array([point])) for n in "uvz")
    both = b("mul", u, v)
    parts = [
        b.sub(b.data("one", np.array([1.0])), both),
        b("mul", both, b.data("s", np.array([0.5]))),
        b.sub(z, b.data("two", np.array([1.0]))),
    ]
    total = [b("mul", p, p) for p in parts]
    b("sum", b("add", b("add", total[0], total[1]), total[2]), dims=[0])
    return b


FIELD = {"u": 1, "v": -1}


def claimed() -> format.Payload:
    b = autoencoder()
    s = (1 / 1.25) ** 0.5
    here = {"u": np.array([2 * s]), "v": np.array([s / 2]), "z": np.array([1.0])}
    names, arrays, radius = names_of(b), {**b.arrays, **here}, 2.0**-10
    written = gradient(shapes.program(b.graph(), shapes.metas(b.arrays)), set(names))
    generator = {n: matrix(0, [[q]]) for n, q in FIELD.items()}
    H, spread = gauge.gauged(written, arrays, names, radius, [generator])
    S = isolation.congruence(H)
    assert S is not None
    found = isolation.isolated(isolation.centre(written, arrays, names, 128), S, spread, radius)
    assert found is not None and found.index == 0 and found.low <= 0.2 <= found.high
    tensors = {**b.tensors, **{n: Stored(v, "parameter", n) for n, v in here.items()}}
    tensors |= {f"g.{n}": Stored(np.array([[q]], np.int8), "direction", "") for n, q in FIELD.items()}
    point = {
        "radius": radius.hex(),
        "index": 0,
        "value": [(found.low - 1e-12).hex(), (found.high + 1e-12).hex()],
        "centre": {},
    }
    claim = {**common(names), "form": "isolated", "property": "strict local minimum up to symmetry", "points": [point]}
    claim["gauge"] = [{n: {"axis": 0, "matrix": f"g.{n}"} for n in FIELD}]
    return format.assemble(claim, b.graph(), tensors, {}, {"mode": "eval"})


def test_a_minimum_on_an_orbit(tmp_path: Path) -> None:
    format.write(tmp_path / "x.epi", claimed())
    result = verify(tmp_path / "x.epi")
    assert result.property.endswith("up to symmetry")
    assert (
        "along 1 linear vector field on its parameters" in result.statement
        and ": a local minimum, where" in result.statement
    )


def _without(d: Draft) -> None:
    del d.claim["gauge"]
    for n in FIELD:
        del d.base[f"g.{n}"], d.manifest["tensors"][f"g.{n}"]


def _set(d: Draft, name: str, q: int) -> None:
    d.base[f"g.{name}"][...] = q


def _twice(d: Draft) -> None:
    d.claim["gauge"] = d.claim["gauge"] * 2


def _plain(d: Draft) -> None:
    _without(d)
    d.claim["property"] = "strict local minimum"


def _moved_z(d: Draft) -> None:
    d.claim["gauge"][0]["z"] = {"shift": "g.u"}
    d.manifest["tensors"]["g.u"]["shape"] = [1]
    d.base["g.u"] = d.base["g.u"].reshape(1)


def _origin(d: Draft) -> None:
    """A saddle at which the field vanishes."""
    d.base["u"][...] = d.base["v"][...] = 0.0
    d.claim["points"][0]["value"] = [(0.999).hex(), (1.001).hex()]


ATTACKS: Mapping[str, tuple[Callable[[Draft], Any], str]] = {
    "the word without the generators": (_without, "E420"),
    "no generators": (_plain, "E440"),
    "a field along which J moves": (lambda d: _set(d, "v", 1), "E440"),
    "a field of zero": (lambda d: (_set(d, "u", 0), _set(d, "v", 0)), "E442"),
    "a field twice": (_twice, "E442"),
    "the word without symmetry": (lambda d: d.claim.update(property="strict local minimum"), "E420"),
    "a maximum": (lambda d: d.claim.update(property="strict local maximum up to symmetry"), "E420"),
    "a matrix of another shape": (_moved_z, "E420"),
    "an axis that is not there": (lambda d: d.claim["gauge"][0]["u"].update(axis=1), "E420"),
    "a truth value as axis": (lambda d: d.claim["gauge"][0]["u"].update(axis=False), "E420"),
    "an unknown parameter": (lambda d: d.claim["gauge"][0].update(q={"shift": "g.u"}), "E420"),
    "a parameter as matrix": (lambda d: d.claim["gauge"][0]["u"].update(matrix="u"), "E420"),
    "no moves": (lambda d: d.claim["gauge"].append({}), "E420"),
    "too many": (lambda d: d.claim.update(gauge=d.claim["gauge"] * 1001), "E420"),
    "no list": (lambda d: d.claim.update(gauge={}), "E420"),
    "a ball that is too large": (lambda d: d.claim["points"][0].update(radius=(0.5).hex()), "E440"),
    "the origin, where the field vanishes": (_origin, "E442"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name: str, tmp_path: Path) -> None:
    change, code = ATTACKS[name]
    draft = Draft(claimed())
    change(draft)
    with pytest.raises(CertificateError) as caught:
        verify_here(draft.save(tmp_path / "x.epi"))
    assert caught.value.code == code, str(caught.value)


def _true(content: format.Payload) -> bool:
    """Is there a critical point near, with the claimed inertia and value, and does J stay the same along the fields?"""
    manifest, claim = content.manifest, content.manifest["claim"]
    tensors = dict(content.base)
    for key, entry in manifest["tensors"].items():
        if "fill" in entry:
            tensors[key] = np.full(entry["shape"], float.fromhex(entry["fill"]))
    keys = {e["name"]: key for key, e in manifest["tensors"].items() if e["role"] == "parameter"}
    f = function(manifest["graph"], tensors, [keys[n] for n in claim["blocks"]])
    (point,) = claim["points"]
    x = centre = torch.cat([torch.tensor(tensors[keys[n]]).double().reshape(-1) for n in claim["blocks"]])
    for _ in range(20):  # the pseudo-inverse steps across the orbit
        H, g = torch.autograd.functional.hessian(f, x), torch.autograd.functional.jacobian(f, x)
        x = x - torch.linalg.pinv(H, rtol=1e-8, hermitian=True) @ g
    w = torch.linalg.eigvalsh(torch.autograd.functional.hessian(f, x))
    zeros = int((w.abs() < 1e-7 * w.abs().max()).sum())
    low, high = (float.fromhex(v) for v in point["value"])
    near = float((x - centre).norm()) <= 2 * float.fromhex(point["radius"])
    right = zeros == len(claim.get("gauge", [])) and int((w < -1e-7 * w.abs().max()).sum()) == point["index"]
    return near and right and low - 1e-9 <= float(f(x)) <= high + 1e-9


def test_a_changed_file_is_refused_or_true(tmp_path: Path) -> None:
    rng, content = random.Random("gauge"), claimed()
    refused = accepted = 0
    for _ in range(200):
        try:
            mutate(rng, content, tmp_path / "x.epi")
        except (TypeError, AttributeError, KeyError, ValueError, OverflowError):
            continue
        try:
            assert verify_here(tmp_path / "x.epi", budget_seconds=2.0, budget_bytes=2**30).ok
        except CertificateError:
            refused += 1
            continue
        accepted += 1
        assert _true(format.read(tmp_path / "x.epi"))
    assert refused > 100 and accepted > 0


def test_the_directions_stay_independent_on_the_ball() -> None:
    """T(x)'V against singular values at random places, and the refusal beyond."""
    b = autoencoder()
    names, rng = names_of(b), np.random.default_rng(0)
    arrays = {**b.arrays, **{n: rng.standard_normal(1) for n in names}}
    generators = [{n: matrix(0, [[q]]) for n, q in FIELD.items()}, {"z": motion(0, {}, np.ones(1, np.int64))}]
    found = gauge.gauge(generators, arrays, names, 2.0)
    assert found is not None and 0.01 < found.radius < 10
    for _ in range(200):
        step = rng.standard_normal(3)
        step *= found.radius / np.linalg.norm(step)
        there = {n: arrays[n] + s for n, s in zip(names, step, strict=True)}
        T = np.stack([gauge.velocity(g, there, names) for g in generators], 1)
        assert np.linalg.svd(T.T @ found.V)[1][-1] > 1e-3
    written = gradient(shapes.program(b.graph(), shapes.metas(b.arrays)), set(names))
    gauge.gauged(written, arrays, names, found.radius * 0.9, generators)
    with pytest.raises(NoGradient, match="independent"):
        gauge.gauged(written, arrays, names, found.radius * 1.1, generators)
    whole, spread = found.added(np.zeros((3, 3)), 0.0)
    assert np.abs(whole - found.V @ found.V.T).max() <= spread < 1e-13
