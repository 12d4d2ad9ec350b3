"""Where products of parameters appear: matrices, convolutions, stacked linear layers."""

from __future__ import annotations

import torch
from torch import Tensor

from epigraph.objective.objective import Objective
from epigraph.zoo.data import normal
from epigraph.zoo.entry import Entry

MATRIX, VECTOR, TARGET = normal(3, 2, seed=11), normal(2, seed=12), normal(3, seed=13)
IMAGE, KERNEL, RESPONSE = normal(1, 1, 5, 5, seed=14), normal(1, 1, 3, 3, seed=15), normal(1, 1, 3, 3, seed=16)
INPUTS, OUTPUTS = normal(6, 2, seed=17), normal(6, 1, seed=18)


def residual(A: Tensor, x: Tensor) -> Tensor:
    """‖Ax - y‖²."""
    return ((A @ x - TARGET) ** 2).sum()


def matrix_only() -> Objective:
    def in_matrix(A: Tensor) -> Tensor:
        return residual(A, VECTOR)

    return Objective.from_function(in_matrix, {"A": MATRIX}, name="|A x - y|^2 in A")


def vector_only() -> Objective:
    def in_vector(x: Tensor) -> Tensor:
        return residual(MATRIX, x)

    return Objective.from_function(in_vector, {"x": VECTOR}, name="|A x - y|^2 in x")


def matrix_and_vector() -> Objective:
    return Objective.from_function(residual, {"A": MATRIX, "x": VECTOR}, name="|A x - y|^2 in A and x")


def convolved(kernel: Tensor, image: Tensor) -> Tensor:
    """‖kernel * image - y‖²."""
    out = torch.nn.functional.conv2d(image, kernel)
    return ((out - RESPONSE) ** 2).sum()


def kernel_only() -> Objective:
    def in_kernel(kernel: Tensor) -> Tensor:
        return convolved(kernel, IMAGE)

    return Objective.from_function(in_kernel, {"kernel": KERNEL}, name="convolution in its kernel")


def image_only() -> Objective:
    def in_image(image: Tensor) -> Tensor:
        return convolved(KERNEL, image)

    return Objective.from_function(in_image, {"image": IMAGE}, name="convolution in its input")


def kernel_and_image() -> Objective:
    point = {"kernel": KERNEL, "image": IMAGE}
    return Objective.from_function(convolved, point, name="convolution in kernel and input")


def chain(a: Tensor, b: Tensor) -> Tensor:
    """(1 - ab)²: a linear network with one unit in each of two layers."""
    return (1 - a * b) ** 2


def scalar_chain() -> Objective:
    half = torch.tensor(0.5, dtype=torch.float64)
    return Objective.from_function(chain, {"a": half, "b": half.clone()}, name="(1 - a b)^2")


def linear_network() -> Objective:
    def two_layers(W1: Tensor, W2: Tensor) -> Tensor:
        hidden = INPUTS @ W1
        out = hidden @ W2
        return ((out - OUTPUTS) ** 2).mean()

    return Objective.from_function(
        two_layers,
        {"W1": normal(2, 3, seed=19), "W2": normal(3, 1, seed=20)},
        name="linear network with one hidden layer",
    )


AFFINE = "squared norm of an affine map: Boyd and Vandenberghe (2004), section 3.2.2"
JOINT = "A product of the varying factors: at zero the Hessian is indefinite."
ENTRIES = (
    Entry(
        "matrix-vector-matrix",
        "‖Ax - y‖² in A",
        "Ax is affine in A.",
        {"verdict": "convex", "blocks": {"A": "convex"}},
        AFFINE,
        matrix_only,
    ),
    Entry(
        "matrix-vector-vector",
        "‖Ax - y‖² in x",
        "Ax is affine in x.",
        {"verdict": "convex", "blocks": {"x": "convex"}},
        AFFINE,
        vector_only,
    ),
    Entry(
        "matrix-vector-both",
        "‖Ax - y‖² in A and x",
        "Ax is an indefinite form in A and x together.",
        {"verdict": "nonconvex", "concave": "refuted", "blocks": {"A": "convex", "x": "convex"}},
        JOINT,
        matrix_and_vector,
    ),
    Entry(
        "convolution-kernel",
        "a convolution in its kernel",
        "A convolution is affine in its kernel.",
        {"verdict": "convex", "blocks": {"kernel": "convex"}},
        AFFINE,
        kernel_only,
    ),
    Entry(
        "convolution-input",
        "a convolution in its input",
        "A convolution is affine in its input.",
        {"verdict": "convex", "blocks": {"image": "convex"}},
        AFFINE,
        image_only,
    ),
    Entry(
        "convolution-both",
        "a convolution in kernel and input",
        "A convolution is multi-convex and not convex jointly.",
        {"verdict": "nonconvex", "concave": "refuted", "blocks": {"kernel": "convex", "image": "convex"}},
        JOINT,
        kernel_and_image,
    ),
    Entry(
        "linear-chain",
        "(1 - ab)²",
        "Two linear layers already suffice to destroy convexity.",
        {
            "verdict": "nonconvex",
            "concave": "refuted",
            "quasiconvex": "refuted",
            "blocks": {"a": "convex", "b": "convex"},
        },
        "at 0 the Hessian has the eigenvalues 2 and -2; every local minimum is global (Baldi and Hornik 1989)",
        scalar_chain,
    ),
    Entry(
        "linear-network",
        "a linear network with one hidden layer",
        "Linear units with squared loss are convex only without a hidden layer.",
        {"verdict": "nonconvex", "concave": "refuted", "blocks": {"W1": "convex", "W2": "convex"}},
        "a product of parameters; every local minimum is global (Baldi and Hornik 1989; Kawaguchi 2016)",
        linear_network,
    ),
)
