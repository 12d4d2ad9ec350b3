"""Models: layers that stay affine, networks that do not, and the settings that decide between the two."""

from __future__ import annotations

from collections.abc import Callable

import torch
from case import IMAGES, B, C, Case, N, P, Parts, Q, S, X, Y, net, row
from torch import Tensor, nn
from torch.nn import functional as F

AFFINE = "convex loss of an affine map [BV04 3.2.2]"
PRODUCT = "product of parameters: indefinite at zero"
BOUNDED = "bounded in the parameters and not constant"
SCALE = "does not change when the weights are scaled, and is not constant"
YC = Y[:, None]


def seeded(make: Callable[[], nn.Module], frozen: tuple[str, ...] = (), nonnegative: tuple[str, ...] = ()) -> nn.Module:
    """A float64 module, its parameters drawn from an own generator; some frozen, some of these made nonnegative."""
    module = make().double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.5)
            if name in nonnegative:
                p.abs_()
            p.requires_grad_(name not in frozen)
        for name, b in module.named_buffers():
            if name.endswith("running_var"):
                b.fill_(1.7)
            elif name.endswith("running_mean"):
                b.fill_(0.3)
    return module


def parts(
    make: Callable[[], nn.Module],
    loss: Callable[..., Tensor],
    inputs: object,
    targets: object,
    frozen: tuple[str, ...] = (),
    nonnegative: tuple[str, ...] = (),
) -> Callable[[], Parts]:
    """A function that builds the model afresh."""
    return lambda: (seeded(make, frozen, nonnegative), loss, inputs, targets)


def chain(*layers: nn.Module) -> Callable[[], nn.Module]:
    """The layers one after the other; copied for each use, so that cases share nothing."""
    import copy

    return lambda: copy.deepcopy(nn.Sequential(*layers))


class Apply(nn.Module):
    """A layer given by a function, as users write their forward."""

    def __init__(self, function: Callable[..., Tensor], **shapes: tuple[int, ...]):
        super().__init__()
        self.function = function
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs, **dict(self.named_parameters()))


def apply(function: Callable[..., Tensor], **shapes: tuple[int, ...]) -> Callable[[], nn.Module]:
    """A factory of ``Apply``."""
    return lambda: Apply(function, **shapes)


def mse(out: Tensor, y: Tensor) -> Tensor:
    """Mean squared error without the module."""
    return ((out - y) ** 2).mean()


def last(out: object, y: Tensor) -> Tensor:
    """Squared error at the last time step of a recurrent layer."""
    assert isinstance(out, tuple)
    return ((out[0][:, -1, :1] - y) ** 2).mean()


def against_zero(out: Tensor, _: Tensor | None = None) -> Tensor:
    """The logistic loss of label 0."""
    return F.softplus(out).mean()


def against_one(out: Tensor, _: Tensor | None = None) -> Tensor:
    """The logistic loss of label 1."""
    return F.softplus(-out).mean()


WORDS = torch.tensor([[0, 1, 2], [3, 1, 0], [2, 2, 4], [4, 3, 1]])
TOKENS = torch.stack([X[:3], X[3:6]])  # two sequences of three tokens
GRAPH = torch.tensor([[0.5, 0.5, 0, 0], [0.3, 0.4, 0.3, 0], [0, 0.2, 0.5, 0.3], [0, 0, 0.5, 0.5]], dtype=torch.float64)

LINEAR: list[Case] = [
    net("one linear layer, MSELoss", parts(chain(nn.Linear(4, 1)), nn.MSELoss(), X, YC), "convex", AFFINE),
    net(
        "one linear layer, CrossEntropyLoss",
        parts(chain(nn.Linear(4, 3)), nn.CrossEntropyLoss(), X, C),
        "convex",
        AFFINE,
    ),
    net(
        "one linear layer, BCEWithLogitsLoss",
        parts(chain(nn.Linear(4, 1)), nn.BCEWithLogitsLoss(), X, B[:, None]),
        "convex",
        AFFINE,
    ),
    net("one linear layer, L1Loss", parts(chain(nn.Linear(4, 1)), nn.L1Loss(), X, YC), "convex", AFFINE),
    net("one linear layer, HuberLoss", parts(chain(nn.Linear(4, 1)), nn.HuberLoss(), X, YC), "convex", AFFINE),
    net(
        "one linear layer, PoissonNLLLoss",
        parts(chain(nn.Linear(4, 1)), nn.PoissonNLLLoss(), X, N[:, None]),
        "convex",
        AFFINE,
    ),
    net(
        "one linear layer, MultiMarginLoss", parts(chain(nn.Linear(4, 3)), nn.MultiMarginLoss(), X, C), "convex", AFFINE
    ),
    net(
        "one linear layer and LogSoftmax, NLLLoss",
        parts(chain(nn.Linear(4, 3), nn.LogSoftmax(1)), nn.NLLLoss(), X, C),
        "convex",
        AFFINE,
    ),
    net(
        "one linear layer and Softmax, MSELoss",
        parts(chain(nn.Linear(4, 3), nn.Softmax(1)), nn.MSELoss(), X, Q),
        "nonconvex",
        BOUNDED,
    ),
    net(
        "one linear layer and Sigmoid, MSELoss",
        parts(chain(nn.Linear(4, 1), nn.Sigmoid()), nn.MSELoss(), X, B[:, None]),
        "nonconvex",
        BOUNDED,
    ),
    net(
        "dropout in eval mode",
        parts(chain(nn.Dropout(0.5), nn.Linear(4, 1)), nn.MSELoss(), X, YC),
        "convex",
        "dropout is the identity in eval mode",
    ),
    net(
        "one convolution, MSELoss",
        parts(chain(nn.Conv2d(1, 2, 3)), nn.MSELoss(), IMAGES, torch.ones(6, 2, 4, 4, dtype=torch.float64)),
        "convex",
        AFFINE,
    ),
    net(
        "convolution with stride, padding and groups",
        parts(
            chain(nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.Flatten()),
            mse,
            torch.cat([IMAGES, IMAGES**2], 1),
            0.3,
        ),
        "convex",
        AFFINE,
    ),
    net(
        "one-dimensional convolution",
        parts(chain(nn.Conv1d(4, 2, 3, dilation=2, padding=2)), mse, X.T[None], 0.1),
        "convex",
        AFFINE,
    ),
    net(
        "transposed convolution",
        parts(chain(nn.ConvTranspose2d(1, 1, 2, stride=2)), mse, IMAGES, 0.5),
        "convex",
        AFFINE,
    ),
    net(
        "convolution and average pooling",
        parts(chain(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), nn.Flatten()), mse, IMAGES, 0.5),
        "convex",
        AFFINE,
    ),
    net(
        "convolution and global average",
        parts(chain(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.CrossEntropyLoss(), IMAGES, C[:6]),
        "convex",
        AFFINE,
    ),
    net("embedding", parts(chain(nn.Embedding(5, 2)), mse, WORDS, 0.5), "convex", "rows of the table are affine in it"),
    net(
        "mean of an embedding",
        parts(apply(lambda i, table: F.embedding(i, table).mean(1), table=(5, 3)), F.cross_entropy, WORDS, C[:4]),
        "convex",
        AFFINE,
    ),
    net(
        "embedding with a trained readout",
        parts(chain(nn.Embedding(5, 2), nn.Linear(2, 1)), mse, WORDS, 0.5),
        "nonconvex",
        PRODUCT,
    ),
    net(
        "bilinear layer",
        parts(lambda: nn.Bilinear(2, 2, 1), mse, (X[:, :2], X[:, 2:]), YC),
        "convex",
        "affine in its weight",
    ),
    net(
        "upsampling after a convolution",
        parts(chain(nn.Conv2d(1, 1, 3), nn.Upsample(scale_factor=2)), mse, IMAGES, 0.5),
        "convex",
        AFFINE,
    ),
    net(
        "reflection padding before a convolution",
        parts(chain(nn.ReflectionPad2d(1), nn.Conv2d(1, 1, 3)), mse, IMAGES, 0.5),
        "convex",
        AFFINE,
    ),
    net(
        "graph convolution of one layer",
        parts(chain(nn.Linear(4, 3)), lambda out, y: F.cross_entropy(GRAPH @ out, y), X[:4], C[:4]),
        "convex",
        AFFINE,
    ),
    net("residual linear layer", parts(apply(lambda x, w: x + x @ w, w=(4, 4)), mse, X, YC), "convex", AFFINE),
    net(
        "two linear heads, summed losses",
        parts(apply(lambda x, a, b: torch.cat([x @ a, x @ b], 1), a=(4, 1), b=(4, 2)), mse, X, YC),
        "convex",
        AFFINE,
    ),
    net(
        "slope of PReLU alone",
        parts(apply(F.prelu, weight=(1,)), mse, X, YC),
        "convex",
        "affine in the slope for fixed input",
    ),
    net(
        "gain and shift of LayerNorm alone",
        parts(lambda: nn.LayerNorm(4), mse, X, YC),
        "convex",
        "affine in gain and shift for fixed input",
    ),
    net(
        "eval batch norm with fixed gain",
        parts(chain(nn.Linear(4, 2), nn.BatchNorm1d(2)), mse, X, YC, frozen=("1.weight", "1.bias")),
        "convex",
        "affine in eval mode",
    ),
    net(
        "eval batch norm with its gain",
        parts(chain(nn.Linear(4, 2), nn.BatchNorm1d(2)), mse, X, YC),
        "nonconvex",
        PRODUCT,
    ),
    net(
        "batch norm in training mode",
        parts(chain(nn.Linear(4, 2, bias=False), nn.BatchNorm1d(2, affine=False)), mse, X, YC),
        "nonconvex",
        "nearly " + SCALE,
        mode="train",
    ),
    net(
        "layer norm after a linear layer",
        parts(chain(nn.Linear(4, 3), nn.LayerNorm(3, elementwise_affine=False)), mse, X, YC),
        "nonconvex",
        BOUNDED,
    ),
    net(
        "normalised output",
        parts(apply(lambda x, w: F.normalize(x @ w, dim=1), w=(4, 2)), mse, X, YC),
        "nonconvex",
        BOUNDED,
    ),
    net(
        "weight decay makes no product convex",
        parts(chain(nn.Linear(4, 1, bias=False), nn.Linear(1, 1, bias=False)), mse, X, YC),
        "nonconvex",
        "(vw - y)² with decay d has at v = w = t the curvature 2y - 2t² + d along (1, -1)",
        weight_decay=1e-3,
    ),
    net(
        "sigmoid with squared error and little decay",
        parts(chain(nn.Linear(4, 1), nn.Sigmoid()), nn.MSELoss(), X, B[:, None]),
        "nonconvex",
        "curvature below -1e-6 exists",
        weight_decay=1e-6,
    ),
]

HIDDEN: list[Case] = [
    net(
        f"one hidden layer, {kind}",
        parts(chain(nn.Linear(4, 3), layer, nn.Linear(3, 1)), mse, X, YC),
        "nonconvex",
        PRODUCT,
    )
    for kind, layer in {
        "relu": nn.ReLU(),
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
        "gelu": nn.GELU(),
        "silu": nn.SiLU(),
        "elu": nn.ELU(),
        "softplus": nn.Softplus(),
        "linear": nn.Identity(),
        "leaky relu": nn.LeakyReLU(0.1),
        "softsign": nn.Softsign(),
    }.items()
] + [
    net(
        "two hidden layers, cross-entropy",
        parts(
            chain(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)), nn.CrossEntropyLoss(), X, C
        ),
        "nonconvex",
        PRODUCT,
    ),
    net(
        "hidden layer of fixed weights",
        parts(chain(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)), mse, X, YC, frozen=("0.weight", "0.bias")),
        "convex",
        "linear in the output weights",
    ),
    net(
        "readout of fixed weights, relu, squared error",
        parts(
            chain(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)),
            mse,
            X,
            YC + 5,
            frozen=("2.weight", "2.bias"),
            nonnegative=("2.weight", "2.bias"),
        ),
        "nonconvex",
        "(relu(z) - y)² with y > 0 has a concave kink",
    ),
    net(
        "readout of fixed weights >= 0, relu, label 0",
        parts(
            chain(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)),
            against_zero,
            X,
            None,
            frozen=("2.weight", "2.bias"),
            nonnegative=("2.weight",),
        ),
        "convex",
        "increasing convex of a nonnegative sum of convex functions [BV04 3.2.4]",
    ),
    net(
        "readout of fixed weights >= 0, relu, label 1",
        parts(
            chain(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)),
            against_one,
            X,
            None,
            frozen=("2.weight", "2.bias"),
            nonnegative=("2.weight",),
        ),
        "nonconvex",
        "softplus(-relu(z)) has a concave kink",
    ),
    net(
        "readout of fixed weights, linear units",
        parts(chain(nn.Linear(4, 3), nn.Linear(3, 1)), mse, X, YC, frozen=("1.weight", "1.bias")),
        "convex",
        "affine in the first layer",
    ),
    net(
        "relu output, targets <= 0",
        parts(chain(nn.Linear(4, 1), nn.ReLU()), mse, X, -P[:, None]),
        "convex",
        "square of relu(z) + |y|, nonnegative and convex",
    ),
    net(
        "relu output, targets > 0",
        parts(chain(nn.Linear(4, 1), nn.ReLU()), mse, X, P[:, None]),
        "nonconvex",
        "(relu(z) - y)² has a concave kink",
    ),
    net(
        "softplus output, targets <= 0",
        parts(chain(nn.Linear(4, 1), nn.Softplus()), mse, X, -P[:, None]),
        "convex",
        "square of a nonnegative convex function",
    ),
    net(
        "absolute output, targets <= 0",
        parts(apply(lambda x, w: (x @ w).abs(), w=(4, 1)), mse, X, -P[:, None]),
        "convex",
        "square of a nonnegative convex function",
    ),
    net(
        "phase retrieval",
        parts(apply(lambda x, w: (x @ w) ** 2, w=(4, 1)), mse, X, P[:, None]),
        "nonconvex",
        "maximum at 0 between w and -w",
    ),
    net(
        "quadratic units, targets <= 0",
        parts(apply(lambda x, w: ((x @ w) ** 2).sum(1, keepdim=True), w=(4, 2)), mse, X, -P[:, None]),
        "convex",
        "square of a nonnegative convex function",
    ),
    net(
        "one hidden unit",
        parts(chain(nn.Linear(4, 1), nn.Tanh(), nn.Linear(1, 1)), nn.BCEWithLogitsLoss(), X, B[:, None]),
        "nonconvex",
        PRODUCT,
    ),
    net(
        "maxout of three, label 0",
        parts(apply(lambda x, w: (x @ w).amax(1), w=(4, 3)), against_zero, X, None),
        "convex",
        "increasing convex of a maximum",
    ),
    net(
        "maxout of three, label 1",
        parts(apply(lambda x, w: (x @ w).amax(1), w=(4, 3)), against_one, X, None),
        "nonconvex",
        "softplus(-max(a, b, c)) has concave kinks",
    ),
    net(
        "max pooling after a convolution, label 0",
        parts(chain(nn.Conv2d(1, 1, 3), nn.MaxPool2d(4), nn.Flatten()), against_zero, IMAGES, None),
        "convex",
        "increasing convex of a maximum",
    ),
    net(
        "max pooling after a convolution, label 1",
        parts(chain(nn.Conv2d(1, 1, 3), nn.MaxPool2d(4), nn.Flatten()), against_one, IMAGES, None),
        "nonconvex",
        "softplus(-max) has concave kinks",
    ),
    net(
        "input-convex network, label 0, nonnegative fixed mixing",
        parts(
            apply(lambda x, a, b, m: F.softplus(F.softplus(x @ a) @ m + x @ b), a=(4, 3), b=(4, 1), m=(3, 1)),
            lambda out: out.mean(),
            X,
            None,
            frozen=("m",),
            nonnegative=("m",),
        ),
        "convex",
        "increasing convex of convex plus affine [BV04 3.2.4]",
    ),
    net(
        "gated linear unit",
        parts(apply(lambda x, w: F.glu(x @ w, dim=1), w=(4, 2)), mse, X, YC),
        "nonconvex",
        "z1 sigmoid(z2) is indefinite",
    ),
    net(
        "two convolutions", parts(chain(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3)), mse, IMAGES, 0.5), "nonconvex", PRODUCT
    ),
    net(
        "autoencoder with tied weights",
        parts(apply(lambda x, w: x @ w @ w.T, w=(4, 2)), mse, X, X),
        "nonconvex",
        "-2 xᵀw wᵀx is concave at 0",
    ),
    net(
        "autoencoder, fixed encoder",
        parts(chain(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 4)), mse, X, X, frozen=("0.weight", "0.bias")),
        "convex",
        "linear in the decoder",
    ),
    net(
        "linear variational autoencoder's mean path",
        parts(chain(nn.Linear(4, 2), nn.Linear(2, 4)), mse, X, X),
        "nonconvex",
        PRODUCT,
    ),
    net(
        "lstm",
        parts(lambda: nn.LSTM(4, 2, batch_first=True), last, TOKENS, torch.ones(2, 1, dtype=torch.float64)),
        "nonconvex",
        BOUNDED,
    ),
    net(
        "tanh rnn",
        parts(lambda: nn.RNN(4, 2, batch_first=True), last, TOKENS, torch.ones(2, 1, dtype=torch.float64)),
        "nonconvex",
        BOUNDED,
    ),
]

ATTENTION: list[Case] = [
    net(
        "attention, values only",
        parts(apply(lambda x, v: torch.softmax(x @ x.transpose(-1, -2) / 2, -1) @ (x @ v), v=(4, 2)), mse, TOKENS, 0.3),
        "convex",
        AFFINE,
    ),
    net(
        "scaled_dot_product_attention, values only",
        parts(apply(lambda x, v: F.scaled_dot_product_attention(x, x, x @ v), v=(4, 4)), mse, TOKENS, 0.3),
        "convex",
        AFFINE,
    ),
    net(
        "attention, keys only",
        parts(apply(lambda x, k: torch.softmax(x @ (x @ k).transpose(-1, -2), -1) @ x, k=(4, 4)), mse, TOKENS, 0.3),
        "nonconvex",
        BOUNDED,
    ),
    net(
        "attention, values and output",
        parts(
            apply(lambda x, v, o: torch.softmax(x @ x.transpose(-1, -2), -1) @ (x @ v) @ o, v=(4, 2), o=(2, 1)),
            mse,
            TOKENS,
            0.3,
        ),
        "nonconvex",
        PRODUCT,
    ),
    net(
        "multi-head attention",
        parts(
            apply(lambda x, q, k, v: F.scaled_dot_product_attention(x @ q, x @ k, x @ v), q=(4, 2), k=(4, 2), v=(4, 2)),
            mse,
            TOKENS,
            0.3,
        ),
        "nonconvex",
        PRODUCT,
    ),
    net(
        "transformer layer",
        parts(lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), mse, TOKENS, 0.3),
        "nonconvex",
        "the last layer norm bounds the output for fixed gain",
    ),
    net(
        "mixture of two fixed experts by softmax",
        parts(apply(lambda x, w: (torch.softmax(x @ w, 1) * x[:, :2]).sum(1, keepdim=True), w=(4, 2)), mse, X, YC),
        "nonconvex",
        BOUNDED,
    ),
    net(
        "mixture of two experts, fixed gate",
        parts(apply(lambda x, w: (torch.softmax(x[:, :2], 1) * (x @ w)).sum(1, keepdim=True), w=(4, 2)), mse, X, YC),
        "convex",
        AFFINE,
    ),
]


def embed(t: Tensor) -> Tensor:
    return X @ t.reshape(4, 2)


def bilinear_scores(t: Tensor) -> Tensor:
    return X[:5] @ t.reshape(4, 4) @ X[5:].T


PAIRED = torch.arange(5)
REPRESENTATION: list[Case] = [
    row("InfoNCE with fixed keys", 8, lambda t: F.cross_entropy(embed(t)[:5] @ X[5:, :2].T, PAIRED), "convex", AFFINE),
    row(
        "two-sided contrast with a bilinear score",
        16,
        lambda t: (F.cross_entropy(bilinear_scores(t), PAIRED) + F.cross_entropy(bilinear_scores(t).T, PAIRED)) / 2,
        "convex",
        AFFINE,
    ),
    row(
        "bilinear score with a temperature",
        17,
        lambda t: F.cross_entropy(t[16] * bilinear_scores(t[:16]), PAIRED),
        "nonconvex",
        PRODUCT,
    ),
    row(
        "two encoders",
        16,
        lambda t: F.cross_entropy(embed(t[:8])[:5] @ embed(t[8:])[5:].T, PAIRED),
        "nonconvex",
        PRODUCT,
    ),
    row(
        "normalised embeddings, fixed keys",
        8,
        lambda t: F.cross_entropy(F.normalize(embed(t)[:5], dim=1) @ X[5:, :2].T, PAIRED),
        "nonconvex",
        SCALE,
    ),
    row("pulled pairs", 8, lambda t: ((embed(t)[:5] - embed(t)[5:]) ** 2).sum(), "convex", "squares of linear maps"),
    row(
        "pushed pairs",
        8,
        lambda t: (torch.relu(1 - torch.linalg.norm(embed(t)[:5] - embed(t)[5:], dim=1)) ** 2).sum(),
        "nonconvex",
        "largest at 0 and 0 far away",
    ),
    row(
        "triplet with linear scores",
        4,
        lambda t: torch.relu((X[:5] - X[5:]) @ t + 0.5).mean(),
        "convex",
        "hinges of affine maps",
    ),
    row(
        "triplet with squared distances",
        8,
        lambda t: torch.relu(((embed(t)[0] - embed(t)[1]) ** 2).sum() - ((embed(t)[0] - embed(t)[2]) ** 2).sum() + 1),
        "nonconvex",
        "difference of quadratics",
    ),
    row(
        "direct preference optimisation, linear policy score",
        4,
        lambda t: -F.logsigmoid(0.1 * ((X[:5] - X[5:]) @ t - 0.3)).mean(),
        "convex",
        AFFINE,
    ),
    row("identity preference optimisation", 4, lambda t: (((X[:5] - X[5:]) @ t - 5) ** 2).mean(), "convex", AFFINE),
    row(
        "policy gradient, advantages of negative sum",
        3,
        lambda t: -(torch.tensor([1.0, -2.0, 0.5]) * torch.log_softmax(t, 0)).sum(),
        "concave",
        "the advantages sum to -0.5: minus half a log-sum-exp plus a linear map",
    ),
    row(
        "policy gradient, advantages >= 0",
        3,
        lambda t: -(torch.tensor([1.0, 0.0, 0.5]) * torch.log_softmax(t, 0)).sum(),
        "convex",
        AFFINE,
    ),
    row(
        "clipped policy objective",
        2,
        lambda t: -torch.minimum(torch.exp(t[0] - t[1]), torch.clamp(torch.exp(t[0] - t[1]), 0.8, 1.2)),
        "nonconvex",
        "-e^z up to log 1.2, then constant: concave, then a convex kink",
        quasiconvex=True,
        quasiconcave=True,
    ),
    row("matrix factorisation", 6, lambda t: ((torch.outer(t[:3], t[3:]) - Q[:3]) ** 2).sum(), "nonconvex", PRODUCT),
    row(
        "factorisation with decay",
        6,
        lambda t: ((torch.outer(t[:3], t[3:]) - Q[:3]) ** 2).sum() + 1e-3 * t @ t,
        "nonconvex",
        "-2 uᵀMv exceeds the decay at 0",
    ),
    row("one factor fixed", 3, lambda t: ((torch.outer(t, Q[0]) - Q[:3]) ** 2).sum(), "convex", AFFINE),
    row(
        "completion of a matrix",
        6,
        lambda t: ((t.reshape(2, 3) - Q[:2]) ** 2 * (Q[:2] > 0.3)).sum(),
        "convex",
        "weighted squares",
    ),
    row(
        "low-rank update of a fixed weight",
        5,
        lambda t: F.softplus(-S * (X @ (Y[:4] + t[:4] * t[4]))).mean(),
        "nonconvex",
        PRODUCT,
    ),
    row(
        "hypernetwork with a fixed code",
        8,
        lambda t: ((X @ (t.reshape(4, 2) @ Q[0, :2]) - Y) ** 2).mean(),
        "convex",
        AFFINE,
    ),
    row(
        "hypernetwork with a trained code",
        10,
        lambda t: ((X @ (t[:8].reshape(4, 2) @ t[8:]) - Y) ** 2).mean(),
        "nonconvex",
        PRODUCT,
    ),
    row(
        "weight norm", 5, lambda t: ((X @ (t[4] * t[:4] / (t[:4].norm() + 1e-6)) - Y) ** 2).mean(), "nonconvex", PRODUCT
    ),
    row(
        "weights as squares",
        4,
        lambda t: ((X @ t**2 - Y) ** 2).mean(),
        "nonconvex",
        "even in each entry and not least at 0",
    ),
    row(
        "weights as differences of squares",
        8,
        lambda t: ((X @ (t[:4] ** 2 - t[4:] ** 2) - Y) ** 2).mean(),
        "nonconvex",
        "even and not least at 0",
    ),
    row(
        "weights as exponentials",
        4,
        lambda t: ((X @ torch.exp(t) - Y) ** 2).mean(),
        "nonconvex",
        "bounded as t goes to -inf, not constant there",
    ),
    row(
        "shared weight in both layers",
        1,
        lambda t: ((t[0] * torch.relu(t[0] * P) - 1) ** 2).mean(),
        "nonconvex",
        "constant for t < 0, then falls",
    ),
    row(
        "radial basis, output weights",
        3,
        lambda t: ((torch.exp(-(torch.cdist(X, X[:3]) ** 2)) @ t - Y) ** 2).mean(),
        "convex",
        AFFINE,
    ),
    row(
        "radial basis, one centre",
        4,
        lambda t: ((torch.exp(-((X - t) ** 2).sum(1)) - P) ** 2).mean(),
        "nonconvex",
        BOUNDED,
    ),
    row(
        "kernel ridge",
        10,
        lambda t: ((KERNEL @ t - Y) ** 2).mean() + 0.1 * t @ KERNEL @ t,
        "convex",
        "the Gaussian kernel is positive definite",
    ),
    row("random features", 6, lambda t: F.softplus(-S * (torch.cos(X @ FEATURES) @ t)).mean(), "convex", AFFINE),
    row(
        "mean of two models' logits", 8, lambda t: F.softplus(-S * (X @ t[:4] + X @ t[4:]) / 2).mean(), "convex", AFFINE
    ),
    row(
        "mean of two models' probabilities",
        8,
        lambda t: -torch.log((torch.sigmoid(S * (X @ t[:4])) + torch.sigmoid(S * (X @ t[4:]))) / 2).mean(),
        "nonconvex",
        "between (u, -u) and (-u, u) lies the worst average",
    ),
    row(
        "squares of products of one weight",
        1,
        lambda t: (t[0] ** 3 - 1) ** 2,
        "nonconvex",
        "flat at 0, where the value is 1",
    ),
    row("deep linear scalar chain", 3, lambda t: (t.prod() - 1) ** 2, "nonconvex", PRODUCT),
]
KERNEL = torch.exp(-(torch.cdist(X, X) ** 2) / 2) + 1e-6 * torch.eye(10, dtype=torch.float64)
KERNEL = (KERNEL + KERNEL.T) / 2
FEATURES = torch.cat([X.T[:, :3] * 0.7, X.T[:, 3:6] * 1.3], 1)

CASES = LINEAR + HIDDEN + ATTENTION + REPRESENTATION
