"""Verdicts made by hand: the surface is tested without the analysis behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from epigraph.convexity.verdict import Blocker, Certificate, Proof, Status, Step, Verdict

SOURCE = '''import torch
from torch import nn


class Digits(nn.Module):
    """One hidden layer."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x):
        hidden = torch.tanh(self.fc1(x))
        return self.fc2(hidden)
'''


def certificate(
    kind: str = "convex",
    J: Callable[[float], float] = lambda s: 1.0 - 0.4 * s * s + 0.3 * s,
    gap: str | None = None,
    samples: int = 81,
) -> Certificate:
    """A certificate for a function of s in [-1, 1]; the gap is what the three values give, unless it is stated."""
    at = {"a": J(-1.0), "b": J(1.0), "m": J(0.0)}
    size = {
        "convex": at["m"] - (at["a"] + at["b"]) / 2,
        "concave": (at["a"] + at["b"]) / 2 - at["m"],
        "quasiconvex": at["m"] - max(at["a"], at["b"]),
        "quasiconcave": min(at["a"], at["b"]) - at["m"],
    }[kind]
    gap = repr(size) if gap is None else gap
    grid = [-1 + 2 * i / (samples - 1) for i in range(samples)] if samples else []
    point = {"fc2.weight": torch.zeros(10, 16)}
    return Certificate(
        kind=kind,
        a=point,
        b=point,
        m=point,
        gap=gap,
        relative_gap=abs(size) / max(map(abs, at.values())),
        values=at,
        arithmetic="arb",
        precision_bits=128,
        refuter="segment",
        blocks=("fc1.weight", "fc2.weight"),
        profile=tuple((s, J(s)) for s in grid),
        payload={"format": "test"},
    )


def step(node: int, claim: str, premises: tuple[int, ...] = (), **changes: Any) -> Step:
    facts: dict[str, Any] = {
        "lemma": "a sum of convex functions is convex",
        "sides": (),
        "op": "aten.add.Tensor",
        "shape": (8, 10),
        "location": "digits.py:15",
        "module": "fc2",
    }
    return Step(node=node, claim=claim, premises=premises, **{**facts, **changes})


def deep_proof(count: int, payload: Any = lambda: {"format": "proof"}) -> Proof:
    """A derivation like those of deep networks: a long chain of sums with short side arguments and shared leaves."""
    steps = [step(0, "x is a parameter: affine", lemma="leaf", op="parameter")]
    while len(steps) < count:
        n = len(steps)
        premises = (n - 1,) if n % 3 else (n - 1, n // 2)
        sides = (f"softplus >= 0 on [0, {n}]",) if n % 5 == 0 else ()
        steps.append(step(n, f"node {n} is convex on its domain", premises, sides=sides))
    return Proof("convex", tuple(steps), {}, payload)


def verdict(
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    convex: Status = "refuted",
    concave: Status = "refuted",
    **changes: Any,
) -> Verdict:
    """A verdict about a small network, not convex unless asked otherwise."""
    shapes = shapes or {"fc1.weight": (16, 64), "fc1.bias": (16,), "fc2.weight": (10, 16), "fc2.bias": (10,)}
    facts: dict[str, Any] = {
        "objective": {
            "name": "digits.py:objective",
            "mode": "eval",
            "loss": "cross_entropy",
            "samples": 1797,
            "weight_decay": 1e-3,
            "size": sum(math.prod(s) for s in shapes.values()),
            "parameters": {name: {"shape": list(shape)} for name, shape in shapes.items()},
            "domain": None,
        },
        "active": tuple(shapes),
        "quasiconvex": "undecided",
        "quasiconcave": "refuted",
        "log_convex": "undecided",
        "log_concave": "undecided",
        "effort": {"effort": "normal", "seed": 0, "seconds": 1.234},
    }
    facts |= changes
    return Verdict(convex=convex, concave=concave, **facts)


def block(word: str, name: str) -> Verdict:
    """The verdict in one parameter alone."""
    states: dict[str, tuple[Status, Status]] = {
        "affine": ("proved", "proved"),
        "convex": ("proved", "refuted"),
        "concave": ("refuted", "proved"),
        "nonconvex": ("refuted", "refuted"),
        "undecided": ("undecided", "undecided"),
    }
    convex, concave = states[word]
    return verdict({name: (3,)}, convex=convex, concave=concave, active=(name,))


def digits(source: Path | None = None) -> Verdict:
    """The verdict on a one-hidden-layer network, with everything a verdict can have."""
    location = f"{source}:15" if source else "digits.py:15"
    return verdict(
        certificates={
            "convex": certificate(),
            "concave": certificate("concave", lambda s: 1.0 + 0.5 * s * s),
            "quasiconcave": certificate("quasiconcave", lambda s: 1.0 + 0.5 * s * s),
        },
        blocks={
            "fc1.weight": block("nonconvex", "fc1.weight"),
            "fc1.bias": block("nonconvex", "fc1.bias"),
            "fc2.weight": block("convex", "fc2.weight"),
            "fc2.bias": block("convex", "fc2.bias"),
        },
        freeze=(("fc1.weight", "fc1.bias"),),
        blockers=(
            Blocker(
                "aten.linear.default",
                location,
                "fc2",
                "both operands depend on parameters (fc1.weight, fc2.weight): a product of two varying factors has "
                "no fixed curvature",
                "return self.fc2(hidden)",
            ),
        ),
        notes=("The data were taken as float64 values, exactly.",),
    )


def proved(count: int = 9) -> Verdict:
    """A convex verdict with a derivation of ``count`` steps."""
    return verdict(
        {"weight": (10, 64), "bias": (10,)},
        convex="proved",
        concave="undecided",
        quasiconvex="proved",
        quasiconcave="undecided",
        modulus=1e-3,
        proofs={"convex": deep_proof(count)},
        blocks={"weight": block("convex", "weight"), "bias": block("convex", "bias")},
    )


HOSTILE = '</style><script>alert(1)</script>{{ 7*7 }}" onload="x\x1b[31m\u202e&amp;'


def hostile() -> Verdict:
    """A verdict in which every text is an attack on the page or the terminal."""
    name = HOSTILE
    only = step(0, name, lemma=name, sides=(name,), op=name, location=name, module=name)
    return verdict(
        {name: (2,)},
        objective={
            "name": name,
            "mode": name,
            "loss": name,
            "parameters": {name: {"shape": [2]}},
            "domain": {name: [name, name]},
            "weight_decay": name,
        },
        certificates={"convex": replace(certificate(), blocks=(name,), refuter=name, kind="convex")},
        blocks={name: block("convex", "x")},
        freeze=((name,),),
        notes=(name,),
        effort={name: name},
        blockers=(Blocker(name, f"{name}:1", name, name, name),),
        proofs={"quasiconvex": Proof("quasiconvex", (only,), {})},
    )


def large() -> Verdict:
    """150 blocks, a derivation of 600 steps, 40 blockers in one file that is not there."""
    shapes = {f"encoder.layers.{i // 6}.attention.part{i % 6}.weight": (256, 256) for i in range(150)}
    words = ("affine", "convex", "nonconvex", "undecided")
    reason = "a product of two varying factors"
    return verdict(
        shapes,
        certificates={"convex": certificate()},
        proofs={"quasiconvex": deep_proof(600)},
        blocks={name: block(words[i % 4], name) for i, name in enumerate(shapes)},
        freeze=tuple(tuple(list(shapes)[i : i + 40]) for i in range(12)),
        blockers=tuple(
            Blocker("aten.mm.default", f"gone.py:{20 * i}", f"encoder.layers.{i}", reason, f"y = x @ w{i}")
            for i in range(1, 41)
        ),
        notes=tuple(f"note {i}" for i in range(20)),
    )


@pytest.fixture
def made() -> SimpleNamespace:
    """The builders, by name."""
    return SimpleNamespace(
        certificate=certificate,
        step=step,
        deep_proof=deep_proof,
        verdict=verdict,
        block=block,
        digits=digits,
        proved=proved,
        hostile=hostile,
        large=large,
        HOSTILE=HOSTILE,
        SOURCE=SOURCE,
    )
