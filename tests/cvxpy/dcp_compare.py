"""CVXPY's rules and ours on the same expressions.

    python tests/cvxpy/dcp_compare.py [--count 600] [--seed 0]

CVXPY restricts a function to a domain of its own where an atom asks for it, and does not say so: log(t) is concave for a
free t, power(t, 3) and inv_pos(t) mean t >= 0.  This package asks about the function on the whole box.  Expressions whose
domain in CVXPY leaves out a part of the box are therefore counted apart.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from dcp_pairs import SIZE, Maker, Pair

from epigraph.convexity.curvature import curvature_claims
from epigraph.convexity.evidence import Court, recheck_proof
from epigraph.convexity.prove import Prover
from epigraph.convexity.quadratic import quadratic_claims
from epigraph.convexity.refute import Refuter
from epigraph.errors import EpigraphError
from epigraph.objective.objective import Objective

CLAIMS: dict[str, Callable[[Any], bool]] = {
    "convex": lambda e: e.is_convex(),
    "concave": lambda e: e.is_concave(),
    "quasiconvex": lambda e: e.is_quasiconvex(),
    "quasiconcave": lambda e: e.is_quasiconcave(),
}
SHAPES = {"x": (SIZE,), "p": (SIZE,), "s": (), "t": ()}


@dataclass
class Table:
    """Per claim: how often each of the two proves it, and the texts of what is worth reading."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    narrow: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    captured: int = 0
    refused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        columns = ("both", "only epigraph", "only CVXPY", "only CVXPY, on a part of the box", "neither")
        lines = [f"{self.captured} expressions, {len(self.refused)} refused at capture, {len(self.contradictions)} contradictions",
                 f"  {'claim':<14}" + "".join(f"{c:>{len(c) + 3}}" for c in columns)]  # fmt: skip
        for claim in CLAIMS:
            lines.append(f"  {claim:<14}" + "".join(f"{self.counts[claim, c]:>{len(c) + 3}}" for c in columns))
        return "\n".join(lines)


def sample(rng: np.random.Generator, scale: float) -> dict[str, np.ndarray]:
    """A point of the box."""
    point = {n: scale * rng.standard_normal(s) for n, s in SHAPES.items()}
    return {n: np.asarray(abs(v) if n in ("p", "s") else v) for n, v in point.items()}


def at(pair: Pair, point: dict[str, np.ndarray]) -> float:
    with torch.no_grad():
        return float(pair.torch({n: torch.from_numpy(np.asarray(v)) for n, v in point.items()}))


def ours(J: Objective, names: tuple[str, ...]) -> tuple[set[str], str | None]:
    """What is proved of J, and a proof that the kernel refuses."""
    graph = J.graph()
    prover, court = Prover(graph, J.domain, J.describe()), Court(graph, J.domain, {})
    proofs = prover.proofs(names)
    if not {"convex", "concave"} & set(proofs):
        proofs |= quadratic_claims(prover, names, court) | curvature_claims(prover, names, court)[0]
    refusals = [f"{k}: {why}" for k, p in proofs.items() if (why := recheck_proof(graph, p)) is not None]
    return set(proofs), refusals[0] if refusals else None


def violated(pair: Pair, names: list[str], claim: str, rng: np.random.Generator) -> str | None:
    """A clear violation in floats of a claim that one of the two proves."""
    for scale in (0.3, 1.0, 3.0, 10.0):
        for _ in range(6):
            a, b = sample(rng, scale), sample(rng, scale)
            b = {n: b[n] if n in names else a[n] for n in a}
            m = {n: (a[n] + b[n]) / 2 for n in a}
            low, mid, high = (at(pair, p) for p in (a, m, b))
            if not np.isfinite([low, mid, high]).all():
                continue
            sign = 1 if "convex" in claim else -1
            low, mid, high = sign * low, sign * mid, sign * high
            roof = max(low, high) if "quasi" in claim else (low + high) / 2
            if mid - roof > 1e-7 * max(abs(low), abs(mid), abs(high)):
                return f"{claim} fails by {mid - roof:.3g} at {a}, {b}"
    return None


def restricted(pair: Pair, variables: dict[str, Any], rng: np.random.Generator) -> bool:
    """Does CVXPY leave out a part of the box, or is J undefined in some of it?"""
    constraints = pair.dcp.domain
    for scale in (0.1, 1.0, 3.0, 3.0, 10.0, 10.0):
        for _ in range(12):
            point = sample(rng, scale)
            if np.isnan(at(pair, point)):
                return True
            for name, variable in variables.items():
                variable.value = point[name]
            if not all(np.all(np.nan_to_num(c.violation(), nan=1.0) <= 1e-9) for c in constraints):
                return True
    return False


def different(pair: Pair, variables: dict[str, Any], rng: np.random.Generator) -> str | None:
    """Are the two spellings one function?"""
    for scale in (0.5, 2.0):
        point = sample(rng, scale)
        for name, variable in variables.items():
            variable.value = point[name]
        theirs = pair.dcp.value
        mine = at(pair, point)
        if theirs is not None and np.isfinite([theirs, mine]).all() and abs(theirs - mine) > 1e-6 * (1 + abs(mine)):
            return f"{float(theirs)} in CVXPY, {mine} in PyTorch at {point}"
    return None


def one(seed: str, table: Table) -> None:
    maker, rng = Maker(seed), np.random.default_rng([ord(c) for c in seed])
    pair = maker.objective()
    names = sorted(v.name() for v in pair.dcp.variables())
    text = f"{seed}: {pair.text}"
    if (other := different(pair, maker.dcp_variables, rng)) is not None:
        table.contradictions.append(f"{text}: two functions: {other}")
    start = {n: torch.full(SHAPES[n], 0.7, dtype=torch.float64) for n in names}
    try:
        J = Objective.from_function(
            pair.torch_of(names), start, domain={n: maker.domain[n] for n in names if n in maker.domain}
        )
        proved, refusal = ours(J, tuple(names))
    except EpigraphError as error:
        table.refused.append(f"{text}: {error}")
        return
    table.captured += 1
    if refusal:
        table.contradictions.append(f"{text}: the kernel refuses {refusal}")
    narrow = restricted(pair, maker.dcp_variables, rng)
    for claim, theirs in CLAIMS.items():
        they, we = bool(theirs(pair.dcp)), claim in proved
        if we and (wrong := violated(pair, names, claim, rng)) is not None:
            table.contradictions.append(f"{text}: {wrong}")
        where = "both" if they and we else "only epigraph" if we else "neither"
        if they and not we:
            where = "only CVXPY, on a part of the box" if narrow else "only CVXPY"
            (table.narrow if narrow else table.missing).append(f"{claim}  {text}")
            if not narrow and "quasi" not in claim and refuted(J, names, claim):
                table.contradictions.append(f"{text}: CVXPY proves {claim}, our refuter has a certificate against it")
        table.counts[claim, where] += 1


def refuted(J: Objective, names: list[str], claim: str) -> bool:
    graph = J.graph()
    refuter = Refuter(graph, J.domain, Court(graph, J.domain, {}))
    return claim in refuter.search(names, [claim], 0.5).certificates


def compare(count: int, seed: int) -> Table:
    table = Table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(count):
            one(f"{seed} {index}", table)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = compare(options.count, options.seed)
    for title, texts in (
        ("only CVXPY proves", table.missing),
        ("only CVXPY proves, for a part of the box", table.narrow),
        ("refused at capture", table.refused),
        ("contradictions", table.contradictions),
    ):
        print(f"{title}: {len(texts)}")
        print("".join(f"  {t}\n" for t in texts))
    print(table)
    sys.exit(bool(table.contradictions))


if __name__ == "__main__":
    main()
