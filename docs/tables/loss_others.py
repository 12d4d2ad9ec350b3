"""Losses that torch.nn does not have, as people write them."""

from __future__ import annotations

from loss_regression import FLAT, REAL
from table_case import Case, Group

POSITIVE = {"x": (0.0, None)}
PAIRS = {"x": (4, 2)}
ROWS = {"x": (3, 3)}
ONE_HOT = "tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0]])"
FAKE = {"x": (4,), "z": (4,)}
LINE = {"y": REAL}
TRUTH = {"y": "tensor([0, 1, 1, 0])"}

# fmt: off
OTHERS = Group(
    "Others", "", "",
    "Not in `torch.nn`, and asked about as often. Each row shows its formula. Two of them surprise: the log-softmax that `cross_entropy` applies itself "
    "does no harm when it is there already, for it changes nothing the second time; and PPO's clipped objective is convex in the ratio, for each sign of the "
    "advantage y, since the minimum clips on one side only.",
    (
        Case("log_cosh", "None", "log-cosh", FLAT, LINE, "torch.log(torch.cosh(x - y)).mean()"),
        Case("quantile", "None", "quantile (pinball), 0.9", FLAT, LINE, "torch.maximum(0.9 * (y - x), -0.1 * (y - x)).mean()"),
        Case("rmse", "None", "root mean square error", FLAT, LINE, "torch.sqrt(((x - y) ** 2).mean())"),
        Case("mape", "None", "relative error", FLAT, {"y": "tensor([1, 2, 0.5, 4])"}, "((x - y) / y).abs().mean()"),
        Case("msle", "None", "squared error of log(1 + x), x ≥ 0", FLAT, {"y": "tensor([1, 2, 0.5, 4])"}, "((torch.log1p(x) - torch.log1p(y)) ** 2).mean()",
             POSITIVE, "positive"),
        Case("cauchy", "None", "Cauchy: log(1 + r²)", FLAT, LINE, "torch.log1p((x - y) ** 2).mean()"),
        Case("geman", "None", "Geman and McClure: r²/(1 + r²)", FLAT, LINE, "((x - y) ** 2 / (1 + (x - y) ** 2)).mean()"),
        Case("tweedie", "None", "Tweedie with log link, power 1.5, targets ≥ 0", FLAT, {"y": "tensor([0, 1, 2, 5])"},
             "(2 * y * torch.exp(-x / 2) + 2 * torch.exp(x / 2)).mean()"),
        Case("gamma", "None", "Gamma with log link, targets > 0", FLAT, {"y": "tensor([1, 2, 0.5, 4])"}, "(y * torch.exp(-x) + x).mean()"),
        Case("hinge", "None", "hinge", FLAT, {"y": "tensor([1, -1, -1, 1])"}, "torch.relu(1 - y * x).mean()"),
        Case("hinge_square", "None", "squared hinge", FLAT, {"y": "tensor([1, -1, -1, 1])"}, "(torch.relu(1 - y * x) ** 2).mean()"),
        Case("ramp", "None", "ramp: hinge clamped at 1", FLAT, {"y": "tensor([1, -1, -1, 1])"}, "torch.clamp(1 - y * x, 0, 1).mean()"),
        Case("exponential", "None", "exponential (AdaBoost)", FLAT, {"y": "tensor([1, -1, -1, 1])"}, "torch.exp(-y * x).mean()"),
        Case("focal", "None", "focal, γ = 2, binary", FLAT, TRUTH,
             "(torch.sigmoid((1 - 2 * y) * x) ** 2 * F.softplus((1 - 2 * y) * x)).mean()"),
        Case("dice", "None", "soft Dice of sigmoids", FLAT, TRUTH, "1 - 2 * (torch.sigmoid(x) * y).sum() / (torch.sigmoid(x) + y).sum()"),
        Case("poly", "None", "cross-entropy + (1 − p) (Poly-1), binary", FLAT, TRUTH,
             "(F.softplus((1 - 2 * y) * x) + torch.sigmoid((1 - 2 * y) * x)).mean()"),
        Case("generalised", "None", "generalised cross-entropy (1 − p^q)/q, q = 0.5", {"x": (3, 3)}, {"y": ONE_HOT},
             "((1 - torch.sqrt((torch.softmax(x, 1) * y).sum(1))) / 0.5).mean()"),
        Case("ce_twice", "None", "cross_entropy of a log_softmax", ROWS, {"y": "labels(0, 2, 1)"}, "F.cross_entropy(torch.log_softmax(x, 1), y)"),
        Case("nll_epsilon", "None", "−log(softmax + 10⁻⁹)", ROWS, {"y": "labels(0, 2, 1)"}, "F.nll_loss(torch.log(torch.softmax(x, 1) + 1e-9), y)"),
        Case("confidence", "None", "cross-entropy minus 0.1 times the entropy", ROWS, {"y": "labels(0, 2, 1)"},
             "F.cross_entropy(x, y) + 0.1 * (torch.softmax(x, 1) * torch.log_softmax(x, 1)).sum(1).mean()"),
        Case("bpr", "None", "Bayesian personalised ranking, Bradley and Terry", FAKE, {}, "-F.logsigmoid(x - z).mean()"),
        Case("plackett", "None", "Plackett and Luce, ListMLE, Cox's partial likelihood", ROWS, {}, "(torch.logcumsumexp(x.flip(1), 1).flip(1) - x).sum()"),
        Case("listnet", "None", "ListNet: softmax cross-entropy of a list", ROWS, {"y": ONE_HOT}, "-(y * torch.log_softmax(x, 1)).sum(1).mean()"),
        Case("dpo", "None", "direct preference optimisation, in the log-ratios", FAKE, {}, "-F.logsigmoid(0.1 * (x - z)).mean()"),
        Case("ppo", "None", "PPO's clipped objective, in the ratio", {"x": (4,)}, {"y": "tensor([1, -1, 2, -0.5])"},
             "-torch.minimum(x * y, torch.clamp(x, 0.75, 1.25) * y).mean()"),
        Case("gan", "None", "GAN, discriminator, in both scores", FAKE, {}, "(F.softplus(-x) + F.softplus(z)).mean()"),
        Case("gan_saturating", "None", "GAN, generator, log(1 − σ)", FLAT, {}, "torch.log(1 - torch.sigmoid(x)).mean()"),
        Case("gan_generator", "None", "GAN, generator, −log σ", FLAT, {}, "-F.logsigmoid(x).mean()"),
        Case("gan_hinge", "None", "hinge GAN, discriminator", FAKE, {}, "(torch.relu(1 - x) + torch.relu(1 + z)).mean()"),
        Case("gan_squares", "None", "least-squares GAN, discriminator", FAKE, {}, "((x - 1) ** 2 + z**2).mean()", modulus="2/4"),
        Case("gan_wasserstein", "None", "Wasserstein critic", FAKE, {}, "z.mean() - x.mean()"),
        Case("contrastive", "None", "contrastive: d² near, max(0, 1 − d)² far, in the embeddings", PAIRS, {},
             "((x[0] - x[1]) ** 2).sum() + torch.relu(1 - torch.linalg.vector_norm(x[2] - x[3])) ** 2"),
        Case("infonce", "None", "InfoNCE of dot products, in all embeddings", ROWS, {"y": "labels(0, 1, 2)"}, "F.cross_entropy(x @ x.T, y)"),
        Case("infonce_query", "None", "InfoNCE of dot products, in the queries", ROWS, {"k": ONE_HOT, "y": "labels(0, 1, 2)"}, "F.cross_entropy(x @ k.T, y)"),
        Case("arcface", "None", "cross-entropy of normalised scores", ROWS, {"y": "labels(0, 2, 1)"}, "F.cross_entropy(8 * F.normalize(x, dim=1), y)"),
        Case("centre", "None", "variance about the mean (centre loss)", ROWS, {}, "((x - x.mean(0)) ** 2).sum()"),
        Case("barlow", "None", "squared distance of XᵀX to the identity", ROWS, {"i": ONE_HOT}, "((x.T @ x - i @ i.T) ** 2).sum()"),
        Case("variation", "None", "total variation", FLAT, {}, "(x[1:] - x[:-1]).abs().sum()"),
    ),
    official=False,
)
# fmt: on

GROUPS = (OTHERS,)
