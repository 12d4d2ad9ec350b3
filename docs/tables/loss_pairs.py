"""Losses of two or three inputs: rankings, distances, angles."""

from __future__ import annotations

from loss_classes import SIGNS
from loss_regression import FLAT, REAL
from table_case import Case, Group

TWO = {"x1": (4,), "x2": (4,)}
PAIR = {"x1": (4, 2), "x2": (4, 2)}
TRIPLE = {"a": (4, 2), "p": (4, 2), "n": (4, 2)}
SAME = "tensor([1, 1, 1, 1])"
APART = "tensor([-1, -1, -1, -1])"
HERE = "tensor([[1, 0], [0, 1], [1, 1], [2, -1]])"
THERE = "tensor([[0, 1], [2, 1], [-1, 1], [0, 0]])"
DISTANCE = "loss(torch.linalg.vector_norm(x1 - x2, dim=1), y)"
SQUARED = "nn.TripletMarginWithDistanceLoss(distance_function=lambda u, v: ((u - v) ** 2).sum(-1))"
ANCHOR = {"p": HERE, "n": THERE}
POSITIVE = {"a": HERE, "n": THERE}
NEGATIVE = {"a": HERE, "p": THERE}

# fmt: off
RANKING = Group(
    "MarginRankingLoss", "max(0, −y (x₁ − x₂) + m)", "always, in both inputs together",
    "A maximum of affine functions of both inputs, for every y and every margin. The linear model is one map applied to both.",
    (
        Case("ranking", "nn.MarginRankingLoss()", "y = ±1", TWO, {"y": SIGNS}, "loss(x1, x2, y)"),
        Case("ranking_margin", "nn.MarginRankingLoss(margin=-0.5)", "margin < 0", TWO, {"y": SIGNS}, "loss(x1, x2, y)"),
        Case("ranking_real", "nn.MarginRankingLoss(margin=1.0)", "any real y", TWO, {"y": REAL}, "loss(x1, x2, y)"),
    ),
)

HINGE = Group(
    "HingeEmbeddingLoss", "x for y = 1, max(0, m − x) for y = −1", "always in its input; of a distance: y = 1",
    "Convex in its input. But the input is meant to be a distance, which is convex in the embeddings, so that max(0, m − d) is not. "
    "For a y that is neither 1 nor −1 PyTorch adds both terms.",
    (
        Case("hinge_embedding", "nn.HingeEmbeddingLoss()", "y = ±1", FLAT, {"y": SIGNS}),
        Case("hinge_embedding_same", "nn.HingeEmbeddingLoss()", "y = 1", FLAT, {"y": SAME}),
        Case("hinge_embedding_margin", "nn.HingeEmbeddingLoss(margin=-2.0)", "y = −1, margin < 0", FLAT, {"y": APART}),
        Case("hinge_embedding_other", "nn.HingeEmbeddingLoss()", "y neither 1 nor −1", FLAT, {"y": "tensor([0, 0.5, 3, -2])"}),
        Case("hinge_embedding_near", "nn.HingeEmbeddingLoss()", "of the distance of two embeddings, y = 1", PAIR, {"y": SAME}, DISTANCE),
        Case("hinge_embedding_far", "nn.HingeEmbeddingLoss()", "of the distance of two embeddings, a y = −1", PAIR, {"y": SIGNS}, DISTANCE),
    ),
)

COSINE = Group(
    "CosineEmbeddingLoss", "1 − cos(x₁, x₂) for y = 1, max(0, cos − m) for y = −1", "never, but where a margin ≥ 1 makes it 0",
    "The cosine is bounded and all but constant along rays (PyTorch adds 10⁻¹² to each squared length), so it is neither convex nor concave.",
    (
        Case("cosine", "nn.CosineEmbeddingLoss()", "y = 1, in both inputs", PAIR, {"y": SAME}, "loss(x1, x2, y)"),
        Case("cosine_apart", "nn.CosineEmbeddingLoss()", "y = −1, in both inputs", PAIR, {"y": APART}, "loss(x1, x2, y)"),
        Case("cosine_one", "nn.CosineEmbeddingLoss()", "y = 1, in one input", {"x1": (4, 2)}, {"x2": HERE, "y": SAME}, "loss(x1, x2, y)"),
    ),
)

TRIPLET = Group(
    "TripletMarginLoss", "max(0, m + d(a, p) − d(a, n))", "in the positive alone",
    "The distance to the positive is convex, minus the distance to the negative is not. With the anchor and the negative fixed it is convex in the "
    "positive, unless `swap` replaces d(a, n) by min(d(a, n), d(p, n)).",
    (
        Case("triplet", "nn.TripletMarginLoss()", "in all three", TRIPLE, {}, "loss(a, p, n)"),
        Case("triplet_anchor", "nn.TripletMarginLoss()", "in the anchor", {"a": (4, 2)}, ANCHOR, "loss(a, p, n)"),
        Case("triplet_positive", "nn.TripletMarginLoss()", "in the positive", {"p": (4, 2)}, POSITIVE, "loss(a, p, n)"),
        Case("triplet_positive_l1", "nn.TripletMarginLoss(p=1)", "in the positive, p=1", {"p": (4, 2)}, POSITIVE, "loss(a, p, n)"),
        Case("triplet_positive_swap", "nn.TripletMarginLoss(swap=True)", "in the positive, swap=True", {"p": (4, 2)}, POSITIVE, "loss(a, p, n)"),
        Case("triplet_negative", "nn.TripletMarginLoss()", "in the negative", {"n": (4, 2)}, NEGATIVE, "loss(a, p, n)"),
    ),
)

TRIPLET_DISTANCE = Group(
    "TripletMarginWithDistanceLoss", "the same with a distance of one's own", "squared distance: in the anchor or in the positive alone",
    "With squared distances |a − p|² − |a − n|² is affine in the anchor, so the loss is convex in the anchor too. Jointly it is not: the squares of "
    "a and n have opposite signs.",
    (
        Case("triplet_distance", "nn.TripletMarginWithDistanceLoss()", "in all three, the default distance", TRIPLE, {}, "loss(a, p, n)"),
        Case("triplet_squared", SQUARED, "in all three, squared distance", TRIPLE, {}, "loss(a, p, n)"),
        Case("triplet_squared_anchor", SQUARED, "in the anchor, squared distance", {"a": (4, 2)}, ANCHOR, "loss(a, p, n)"),
        Case("triplet_squared_positive", SQUARED, "in the positive, squared distance", {"p": (4, 2)}, POSITIVE, "loss(a, p, n)"),
        Case("triplet_squared_negative", SQUARED, "in the negative, squared distance", {"n": (4, 2)}, NEGATIVE, "loss(a, p, n)"),
    ),
)
# fmt: on

GROUPS = (RANKING, HINGE, COSINE, TRIPLET, TRIPLET_DISTANCE)
