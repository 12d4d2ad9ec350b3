"""Networks with hidden units: symmetries, exceptions, pooling."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph.objective.objective import Objective
from epigraph.zoo.data import XOR_INPUTS, XOR_TARGETS, build, digits, normal
from epigraph.zoo.entry import Entry

X, Y = normal(8, 2, seed=31), normal(8, 1, seed=32)
LABELS = (normal(8, 1, seed=33) > 0).double()


class Hidden(nn.Module):
    """Linear layers with tanh between them."""

    def __init__(self, *widths: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)


class OneHidden(nn.Module):
    """One hidden layer of tanh units."""

    def __init__(self, inputs: int, units: int, outputs: int):
        super().__init__()
        self.hidden = nn.Linear(inputs, units)
        self.output = nn.Linear(units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        z = self.hidden(x)
        h = torch.tanh(z)
        return self.output(h)


def digits_one_hidden() -> Objective:
    images, classes = digits()
    return Objective(
        build(OneHidden, 64, 16, 10, seed=3), nn.CrossEntropyLoss(), images, classes, name="digits, one hidden layer"
    )


def digits_two_hidden() -> Objective:
    images, classes = digits(200)
    return Objective(
        build(Hidden, 64, 12, 12, 10, seed=4), nn.CrossEntropyLoss(), images, classes, name="digits, two hidden layers"
    )


def tanh_two_units() -> Objective:
    return Objective(build(OneHidden, 2, 2, 1, seed=5), nn.MSELoss(), X, Y, name="two hidden units")


def one_unit() -> Objective:
    return Objective(build(OneHidden, 2, 1, 1, seed=6), nn.BCEWithLogitsLoss(), X, LABELS, name="a single hidden unit")


def half_sum_of_squares(out: Tensor, targets: Tensor) -> Tensor:
    """½ Σ (f - y)²."""
    return 0.5 * ((out - targets) ** 2).sum()


def xor() -> Objective:
    return Objective(
        build(OneHidden, 2, 2, 1, seed=7),
        half_sum_of_squares,
        XOR_INPUTS,
        XOR_TARGETS,
        weight_decay=0.1,
        name="XOR with weight decay",
    )


def symmetric_linear_units() -> Objective:
    """Two linear units whose outgoing weights are fixed to 1: swapping them changes nothing."""

    def squares(W: Tensor) -> Tensor:
        hidden = X @ W
        out = hidden.sum(1, keepdim=True)
        return ((out - Y) ** 2).mean()

    return Objective.from_function(squares, {"W": normal(2, 2, seed=34)}, name="symmetric linear units")


class Pooled(nn.Module):
    """A convolution and max-pooling over all of its outputs: a maximum of affine maps of the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.convolution(x)
        return F.max_pool2d(z, 3).flatten(1)


def pooled(label: float) -> Objective:
    images = normal(4, 1, 5, 5, seed=35)
    targets = torch.full((4, 1), label, dtype=torch.float64)
    return Objective(
        build(Pooled, seed=8), nn.BCEWithLogitsLoss(), images, targets, name=f"max-pooling, label {label:g}"
    )


def pooled_negative() -> Objective:
    return pooled(0.0)


def pooled_positive() -> Objective:
    return pooled(1.0)


NONCONVEX = {"verdict": "nonconvex", "concave": "refuted"}
SWAP = "swapping units gives a second point of equal value; where the midpoint is worse, Jensen's inequality fails"
ENTRIES = (
    Entry(
        "digits-one-hidden",
        "one hidden layer on 1797 digits",
        "One hidden layer makes the cost of logistic regression non-convex.",
        {**NONCONVEX, "blocks": {"output.weight": "convex", "output.bias": "convex"}},
        SWAP,
        digits_one_hidden,
    ),
    Entry(
        "digits-two-hidden",
        "two hidden layers on 200 digits",
        "Deeper networks are not convex either.",
        {**NONCONVEX, "blocks": {"layers.2.weight": "convex", "layers.2.bias": "convex"}},
        SWAP,
        digits_two_hidden,
    ),
    Entry(
        "swapped-units",
        "two tanh units",
        "Swapping hidden units with their weights leaves J unchanged, so minimisers come in copies.",
        {**NONCONVEX, "blocks": {"output.weight": "convex", "output.bias": "convex"}},
        SWAP,
        tanh_two_units,
    ),
    Entry(
        "single-hidden-unit",
        "a single tanh unit",
        "A single unit has no other to be swapped with, and J is still not convex.",
        {**NONCONVEX, "blocks": {"output.weight": "convex", "output.bias": "convex"}},
        "a product of the weights on both sides of tanh",
        one_unit,
        notes="Its sign symmetry remains: tanh is odd.",
    ),
    Entry(
        "symmetric-linear-units",
        "linear units with equal fixed outgoing weights",
        "Symmetric under permutations, and convex all the same.",
        {"verdict": "convex", "blocks": {"W": "convex"}},
        "squared norm of an affine map",
        symmetric_linear_units,
        notes="Two copies of a minimiser have a midpoint of the same value: symmetry alone proves nothing.",
    ),
    Entry(
        "xor",
        "XOR with two tanh units and weight decay",
        "With permutations removed, minima of different values remain.",
        {**NONCONVEX, "quasiconvex": "refuted", "blocks": {"output.weight": "convex", "output.bias": "convex"}},
        "J = ½ Σ (f - y)² + 0.05 ‖θ‖² has three classes of minima, of values 0.48024, 0.51220 and 0.52267",
        xor,
    ),
    Entry(
        "max-pooling-label-0",
        "max-pooling, label 0",
        "A maximum of affine maps is convex, and an increasing convex loss keeps it.",
        {"verdict": "convex"},
        "Boyd and Vandenberghe (2004), sections 3.2.3 and 3.2.4",
        pooled_negative,
    ),
    Entry(
        "max-pooling-label-1",
        "max-pooling, label 1",
        "Under a decreasing loss the same maximum is not convex.",
        NONCONVEX,
        "log(1 + e^-max(a, b)) has concave kinks",
        pooled_positive,
    ),
)
