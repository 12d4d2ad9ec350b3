"""Losses of real numbers: squares, absolute values, likelihoods."""

from __future__ import annotations

from typing import Any

from table_case import Case, Group

REAL = "tensor([-1, 0, 0.5, 2])"
COUNTS = "tensor([0, 1, 2, 5])"
NEGATIVE = "tensor([-1, 0, -0.5, -2])"
PARTS = "tensor([0, 1, 0.25, 1])"
FLAT = {"x": (4,)}
BOTH = {"x": (4,), "y": (4,)}
ONE: dict[str, tuple[int, ...]] = {"x": ()}
POSITIVE = {"x": (0.0, None)}


def flat(name: str, loss: str, when: str, y: str = REAL, **more: Any) -> Case:
    """A loss of four numbers with four targets."""
    return Case(name, loss, when, FLAT, {"y": y}, **more)


def one(name: str, loss: str, when: str, y: str, **more: Any) -> Case:
    """A loss of one number with one target."""
    return Case(name, loss, when, ONE, {"y": y}, linear=False, **more)


# fmt: off
L1 = Group(
    "L1Loss", "|x − y|", "always",
    "A maximum of two affine functions. Convex in input and target together, since only their difference enters.",
    (
        flat("l1", "nn.L1Loss()", "any real targets"),
        flat("l1_sum", "nn.L1Loss(reduction='sum')", "reduction='sum'"),
        Case("l1_joint", "nn.L1Loss()", "input and target both vary", BOTH),
    ),
)

MSE = Group(
    "MSELoss", "(x − y)²", "always; strongly, with modulus 2/n",
    "Strongly convex in its input: the modulus is 2/n for the mean of n entries and 2 for the sum. After a squashing link it is "
    "not convex, even for one sample, where it stays quasi-convex; the sum over samples is not even that. After a relu it is convex "
    "if no target is positive, because the square then only rises where the relu rises.",
    (
        flat("mse", "nn.MSELoss()", "any real targets", modulus="2/4"),
        flat("mse_sum", "nn.MSELoss(reduction='sum')", "reduction='sum'", modulus="2"),
        Case("mse_joint", "nn.MSELoss()", "input and target both vary", BOTH),
        flat("mse_sigmoid", "nn.MSELoss()", "after a sigmoid", PARTS, call="loss(torch.sigmoid(x), y)"),
        one("mse_sigmoid_one", "nn.MSELoss()", "after a sigmoid, one sample", "tensor(0.25)", call="loss(torch.sigmoid(x), y)"),
        Case("mse_softmax", "nn.MSELoss()", "after a softmax (Brier score)", {"x": (3, 3)},
             {"y": "tensor([[0.5, 0.25, 0.25], [0, 0, 1], [0.125, 0.75, 0.125]])"}, "loss(torch.softmax(x, 1), y)"),
        flat("mse_relu_below", "nn.MSELoss()", "after a relu, all targets ≤ 0", NEGATIVE, call="loss(torch.relu(x), y)"),
        flat("mse_relu", "nn.MSELoss()", "after a relu, a target > 0", call="loss(torch.relu(x), y)"),
    ),
)

HUBER = Group(
    "HuberLoss", "r²/2 for |r| ≤ δ, δ(|r| − δ/2) beyond, r = x − y", "always (PyTorch refuses δ ≤ 0)",
    "Strongly convex, with modulus 1/n, on a box in which every residual stays within δ; nowhere else, for the tails are straight.",
    (
        flat("huber", "nn.HuberLoss()", "any real targets"),
        flat("huber_small", "nn.HuberLoss(delta=0.01)", "delta=0.01"),
        flat("huber_inside", "nn.HuberLoss(delta=4.0)", "delta=4, input in [−1, 1]", bounds={"x": (-1.0, 1.0)}, linear=False, modulus="1/4"),
        flat("huber_zero", "nn.HuberLoss(delta=0.0)", "delta=0", linear=False),
    ),
)

SMOOTH = Group(
    "SmoothL1Loss", "r²/(2β) for |r| < β, |r| − β/2 beyond", "always (PyTorch refuses β < 0)",
    "Huber's loss divided by β; with β = 0 it is the absolute value.",
    (
        flat("smooth_l1", "nn.SmoothL1Loss()", "any real targets"),
        flat("smooth_l1_beta", "nn.SmoothL1Loss(beta=0.1)", "beta=0.1"),
        flat("smooth_l1_zero", "nn.SmoothL1Loss(beta=0.0)", "beta=0"),
        flat("smooth_l1_negative", "nn.SmoothL1Loss(beta=-1.0)", "beta=−1", linear=False),
    ),
)

POISSON = Group(
    "PoissonNLLLoss", "eˣ − y x, or x − y log(x + ε)", "log_input=True: always; log_input=False: targets ≥ 0 and input > −ε",
    "With `log_input=True` (the default) the target only enters an affine term, so that its sign does not matter; on a box it is strongly "
    "convex, with modulus e to the power of the lower end. With `log_input=False` the sign of the target is the sign of the curvature, and "
    "an exponential or a softplus before it is one convex function too many. `full=True` adds Stirling's terms, which are constant in "
    "the input. The textbook has log x; PyTorch has log(x + 10⁻⁸), so that J is defined slightly below zero as well.",
    (
        flat("poisson", "nn.PoissonNLLLoss()", "log_input=True, targets ≥ 0", COUNTS),
        flat("poisson_real", "nn.PoissonNLLLoss()", "log_input=True, any real targets"),
        flat("poisson_full", "nn.PoissonNLLLoss(full=True)", "log_input=True, full=True", COUNTS),
        one("poisson_box", "nn.PoissonNLLLoss()", "log_input=True, input in [−1, 4]", "tensor(2.0)", bounds={"x": (-1.0, 4.0)}, modulus="0.3678"),
        flat("poisson_rate", "nn.PoissonNLLLoss(log_input=False)", "log_input=False, targets ≥ 0, input ≥ 0", COUNTS, bounds=POSITIVE, linear="positive"),
        flat("poisson_rate_full", "nn.PoissonNLLLoss(log_input=False, full=True)", "the same with full=True", COUNTS, bounds=POSITIVE, linear="positive"),
        flat("poisson_rate_below", "nn.PoissonNLLLoss(log_input=False)", "log_input=False, targets ≤ 0, input ≥ 0", NEGATIVE, bounds=POSITIVE, linear="positive"),
        flat("poisson_rate_mixed", "nn.PoissonNLLLoss(log_input=False)", "log_input=False, targets of both signs", bounds=POSITIVE, linear="positive"),
        flat("poisson_rate_exp", "nn.PoissonNLLLoss(log_input=False)", "log_input=False after an exponential", COUNTS, call="loss(torch.exp(x), y)"),
        flat("poisson_rate_softplus", "nn.PoissonNLLLoss(log_input=False)", "log_input=False after a softplus", COUNTS, call="loss(F.softplus(x), y)"),
    ),
)

GIVEN = {"y": REAL, "v": "tensor([0.5, 1, 2, 0.25])"}
MEAN = {"x": "tensor([0, 0.5, 1, 1])", "y": REAL}
GAUSSIAN = Group(
    "GaussianNLLLoss", "½ (log v + (x − y)²/v), v at least ε", "in the mean, the variance given",
    "Strongly convex in the mean; not convex in the variance. With v = eˢ it is convex in s for a fixed mean and in the mean for a fixed s, "
    "but not in both. In η = mean/variance and λ = 1/variance it is convex in both: the likelihood of an exponential family. PyTorch raises v to ε "
    "(10⁻⁶) from below and lets no gradient know; J is the function of the values.",
    (
        Case("gaussian", "nn.GaussianNLLLoss()", "in the mean", FLAT, GIVEN, "loss(x, y, v)", modulus="1/8"),
        Case("gaussian_full", "nn.GaussianNLLLoss(full=True)", "in the mean, full=True", FLAT, GIVEN, "loss(x, y, v)", modulus="1/8"),
        Case("gaussian_variance", "nn.GaussianNLLLoss()", "in the variance ≥ 0.001", {"v": (4,)}, MEAN, "loss(x, y, v)", {"v": (0.001, None)}, False),
        Case("gaussian_joint", "nn.GaussianNLLLoss()", "mean and variance ≥ 0.001 together", {"x": (4,), "v": (4,)}, {"y": REAL}, "loss(x, y, v)",
             {"v": (0.001, None)}, False),
        Case("gaussian_log", "nn.GaussianNLLLoss()", "in s ≥ −10, variance eˢ", {"s": (4,)}, MEAN, "loss(x, y, torch.exp(s))", {"s": (-10.0, None)}, False),
        Case("gaussian_log_joint", "nn.GaussianNLLLoss()", "mean and s ≥ −10 together, variance eˢ", {"x": (4,), "s": (4,)}, {"y": REAL},
             "loss(x, y, torch.exp(s))", {"s": (-10.0, None)}, False),
        Case("gaussian_natural", "nn.GaussianNLLLoss()", "η and λ in [0.001, 1000] together, mean η/λ, variance 1/λ", {"e": (4,), "l": (4,)}, {"y": REAL},
             "loss(e / l, y, 1 / l)", {"l": (0.001, 1000.0)}, False),
    ),
)
# fmt: on

GROUPS = (MSE, L1, HUBER, SMOOTH, POISSON, GAUSSIAN)
