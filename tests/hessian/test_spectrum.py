"""Ends, density and trace of objectives' Hessians against dense eigenvalues; what has not converged is marked."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from spectrum_cases import CASES, mlp
from torch import Tensor

import epigraph
from epigraph.hessian.ends import Request, ends
from epigraph.hessian.krylov import Krylov

PICK = ["mlp", "conv", "decay_by_block", "odd", "function", "loss_with_parameters", "batch_norm_in_training"]


def _quadratic(matrix: Tensor, name: str = "w") -> epigraph.Objective:
    matrix = (matrix + matrix.T) / 2
    return epigraph.Objective.from_function(
        lambda w: w @ matrix @ w / 2, {name: torch.zeros(len(matrix), dtype=matrix.dtype)}
    )


def _network_like(n: int, seed: int) -> tuple[Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    values = np.concatenate([rng.exponential(1.0, 10) + 0.5, 1e-2 * rng.standard_normal(n - 10)])
    matrix = torch.from_numpy((q * values) @ q.T)
    return matrix, np.linalg.eigvalsh(((matrix + matrix.T) / 2).numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", PICK)
def test_both_ends_are_the_dense_ends_within_their_errors(name: str, dtype: torch.dtype) -> None:
    case = CASES[name](dtype)
    exact = torch.linalg.eigvalsh(case.dense()).numpy()
    S = epigraph.spectrum(case.J, top=4, bottom=3)
    assert S.converged and S.risk <= 1e-6
    data = 0.0 if dtype == torch.float64 else 1e-6 * np.abs(exact).max()  # the float32 program has rounded data
    for pairs, order in ((S.top, exact[::-1]), (S.bottom, exact)):
        for pair, true in zip(pairs, order, strict=False):
            assert abs(pair.value - true) <= pair.error + data, (name, pair, true)
            assert pair.converged and pair.residual <= pair.bound


def test_single_precision_errors_hold_against_double() -> None:
    """The errors are those of float32 products of a trained network, judged by a float64 matrix at the same weights."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.Tanh(), torch.nn.Linear(12, 4))
    x, y = torch.randn(300, 6), torch.randint(4, (300,))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    J = epigraph.Objective(model, torch.nn.functional.cross_entropy, x, y)
    exact = torch.linalg.eigvalsh(epigraph.hessian(J, dtype="float64").to_dense()).numpy()
    S = epigraph.spectrum(J, top=5, bottom=3)
    for pair, true in [*zip(S.top, exact[::-1], strict=False), *zip(S.bottom, exact, strict=False)]:
        assert abs(pair.value - true) <= pair.error and pair.converged


def test_more_values_than_there_are() -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64))
    S = epigraph.spectrum(_quadratic(matrix), top=5, bottom=2)
    assert [round(p.value, 9) for p in S.top] == [3, 2, -1] and [round(p.value, 9) for p in S.bottom] == [-1, 2]
    assert S.converged and S.risk == 0.0


@pytest.mark.parametrize("values", [[0.0] * 4, [2.0] * 6, [5.0, 0, 0, 0, 0], [1.0], [-1.0, -1.0, -1.0, 4.0]])
def test_degenerate_matrices(values: list[float]) -> None:
    S = epigraph.spectrum(_quadratic(torch.diag(torch.tensor(values, dtype=torch.float64))), top=3, bottom=2)
    ordered = sorted(values, reverse=True)
    assert np.allclose([p.value for p in S.top], ordered[:3]) and np.allclose(
        [p.value for p in S.bottom], ordered[::-1][:2]
    )
    assert S.converged
    for p in S.top:
        assert p.multiplicity == ordered[:3].count(pytest.approx(p.value, abs=1e-9))


def test_a_function_without_curvature() -> None:
    J = epigraph.Objective.from_function(lambda w: (3 * w).sum(), {"w": torch.ones(20)})
    S, t, d = epigraph.spectrum(J), epigraph.trace(J), epigraph.density(J)
    assert all(p.value == 0 for p in (*S.top, *S.bottom)) and S.converged
    assert t.trace.value == 0 and d.negative.value == 0


def test_known_directions_are_taken_out() -> None:
    matrix, _ = _network_like(60, 1)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    S = epigraph.spectrum(
        _quadratic(matrix), top=2, bottom=1, without=[vectors[:, -1], 3 * vectors[:, -2], vectors[:, 0]]
    )
    assert np.allclose([p.value for p in S.top], values[[-3, -4]].numpy(), rtol=1e-6)
    assert S.bottom[0].value == pytest.approx(float(values[1]), rel=1e-6)


def test_directions_are_returned_and_are_eigenvectors() -> None:
    case = mlp(torch.float64)
    S, H = epigraph.spectrum(case.J, top=3, bottom=2, vectors=True), case.dense()
    assert S.vectors is not None and S.vectors["top"].shape == (3, 43) and S.vectors["bottom"].shape == (2, 43)
    for pairs, rows in ((S.top, S.vectors["top"]), (S.bottom, S.vectors["bottom"])):
        for pair, u in zip(pairs, rows, strict=True):
            assert float((H @ u - pair.value * u).norm()) <= pair.bound + 1e-12


@pytest.mark.parametrize("capacity", [20, 24, 30])
def test_restarts_give_the_same_answers(capacity: int) -> None:
    for seed in range(4):
        matrix, exact = _network_like(200, seed)
        dense = (matrix + matrix.T) / 2
        process = Krylov(lambda v, A=dense: A @ v, 200, torch.float64, torch.device("cpu"), seed)
        state = ends(process, Request(4, 2, 1e-6, 1.0, 4000, capacity))
        assert state.all_converged and process.count < capacity + 2 and process.products > capacity
        values = state.ritz.values
        assert np.allclose(values[-4:], exact[-4:], rtol=1e-6) and np.allclose(values[:2], exact[:2], rtol=1e-6)


def test_what_has_not_converged_is_marked() -> None:
    matrix, _ = _network_like(300, 2)
    S = epigraph.spectrum(_quadratic(matrix), top=5, bottom=3, most=9)
    assert not S.converged and S.risk == 1.0 and not all(p.converged for p in S.bottom)
    assert "not converged after 9 products" in S.notes[0]
    T = epigraph.spectrum(_quadratic(matrix), top=2, bottom=0, copies=False)
    assert all(p.converged for p in T.top) and T.risk == 1.0 and not T.converged and T.notes


def test_the_same_seed_gives_the_same_numbers() -> None:
    J = mlp(torch.float64).J
    first, again, other = (epigraph.spectrum(J, top=2, bottom=1, seed=s).to_dict() for s in (0, 0, 1))
    drop = lambda d: {k: v for k, v in d.items() if k != "seconds"}  # noqa: E731
    assert drop(first) == drop(again) != drop(other)
    json.dumps(first, allow_nan=False)
    assert first["schema"] == "epigraph/spectrum/1" and {"top", "bottom", "converged", "risk", "blocks"} <= set(first)


def test_trace_and_frobenius_within_their_errors() -> None:
    over = 0
    for seed in range(60):
        matrix, exact = _network_like(150, seed)
        t = epigraph.trace(_quadratic(matrix), tol=0.02, seed=seed)
        assert t.converged and t.trace.error <= 0.02 * abs(t.trace.value)
        over += abs(t.trace.value - exact.sum()) > 2 * t.trace.error
        assert abs(t.frobenius.value - math.sqrt((exact**2).sum())) <= 5 * t.frobenius.error + 1e-9
    assert over <= 6  # 2 standard errors, 60 seeds: three on average


def test_the_trace_of_a_small_matrix_is_exact() -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64))
    t = epigraph.trace(_quadratic(matrix))
    assert (
        t.trace.error < 1e-13
        and t.trace.value == pytest.approx(4)
        and t.frobenius.value == pytest.approx(math.sqrt(14))
    )


@pytest.mark.parametrize("outliers", [0, 10])
def test_density_against_the_eigenvalues(outliers: int) -> None:
    matrix, exact = _network_like(300, 3)
    d = epigraph.density(_quadratic(matrix), probes=10, steps=50, outliers=outliers)
    at = np.linspace(exact[0], exact[-1], 400)
    share, error = d.cumulative(at)
    true = np.searchsorted(exact, at, side="right") / 300
    assert np.mean(np.abs(share - true)) < 0.02
    assert np.all(np.abs(share - true) <= 5 * error + 0.08)
    mean = d.average(lambda x: x)
    assert abs(mean.value - exact.mean()) <= 4 * mean.error + 1e-9
    negative = -exact[exact < 0].sum() / np.abs(exact).sum()
    assert abs(d.negative.value - negative) <= 4 * d.negative.error + 1e-6
    masses, _ = d.masses(np.array([exact[0] - 1, 0.0, exact[-1] + 1]))
    assert masses.sum() == pytest.approx(1.0) and abs(masses[0] - (exact < 0).mean()) < 0.05


def test_density_of_a_matrix_whose_values_are_all_listed() -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64))
    S = epigraph.spectrum(_quadratic(matrix), vectors=True)
    d = epigraph.density(_quadratic(matrix), outliers=S)
    assert sorted(d.outliers) == pytest.approx([-1, 2, 3]) and d.bulk == 0
    assert d.average(lambda x: x).value == pytest.approx(4 / 3) and d.negative.value == pytest.approx(1 / 6)


def test_public_names() -> None:
    import epigraph.hessian.api  # the submodule does not hide the function

    assert callable(epigraph.hessian) and isinstance(epigraph.spectrum(mlp(torch.float32).J), epigraph.Spectrum)
    assert isinstance(epigraph.density(mlp(torch.float32).J, probes=1, steps=3), epigraph.Density)


def test_negative_curvature_that_few_steps_do_not_meet_is_not_excluded() -> None:
    """Small negative values under a wide bulk: with few steps no node lies below zero, and the error says that some may."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        values = np.concatenate([10 ** rng.uniform(-6, 0, 180), -(10 ** rng.uniform(-6, -2, 20))])
        q, _ = np.linalg.qr(rng.standard_normal((200, 200)))
        d = epigraph.density(_quadratic(torch.from_numpy((q * values) @ q.T)), steps=10, seed=seed)
        share = -values[values < 0].sum() / np.abs(values).sum()
        assert abs(d.negative.value - share) <= 3 * d.negative.error


def test_frobenius_norms_of_few_samples_are_within_their_errors() -> None:
    over = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        matrix = rng.standard_normal((60, 60)) + 40 * np.eye(60)
        matrix = torch.from_numpy(matrix + matrix.T)
        t = epigraph.trace(_quadratic(matrix), tol=0.1, seed=seed)
        over += abs(t.frobenius.value - float(matrix.norm())) > 3 * t.frobenius.error
    assert over <= 3


def test_sums_in_single_precision_carry_their_rounding() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        matrix = torch.from_numpy(rng.standard_normal((12, 12))).float()
        matrix = (matrix + matrix.T) / 2
        t = epigraph.trace(_quadratic(matrix))
        assert 0 < t.trace.error < 1e-4 and abs(t.trace.value - float(matrix.double().trace())) <= t.trace.error
        assert abs(t.frobenius.value - float(matrix.double().norm())) <= t.frobenius.error


def test_products_that_look_for_copies_are_counted_apart() -> None:
    J = epigraph.Objective.from_function(
        lambda w: (w * w * torch.arange(1.0, 401.0, dtype=torch.float64).sqrt()).sum(),
        {"w": torch.zeros(400, dtype=torch.float64)},
    )
    found, plain = (epigraph.spectrum(J, top=2, bottom=0, copies=copies) for copies in (True, False))
    assert found.products - found.looked == plain.products and plain.looked == 0 < found.looked
    assert found.to_dict()["looked"] == found.looked


def test_a_small_singular_matrix_is_settled() -> None:
    """Relative to zero no error is small: all rows are multiplied."""
    d = torch.cat([torch.zeros(450, dtype=torch.float64), torch.linspace(1, 2, 150, dtype=torch.float64)])
    J = epigraph.Objective.from_function(lambda w: (w * w * d).sum(), {"w": torch.zeros(600, dtype=torch.float64)})
    found = epigraph.spectrum(J, top=1, bottom=2)
    assert found.converged and all(abs(p.value) <= p.error for p in found.bottom)
