"""The modules of torch.nn, as users write them: captured without a node of which nothing is known.

The capture itself compares each graph with the program at several points, so a test here fails on a wrong value too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph.objective.objective import Objective

GENERATOR = torch.Generator().manual_seed(1)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR)


class Probe(nn.Module):
    """The module under test on a parameter of a given shape, reduced by a fixed linear functional."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...], unit: bool = False):
        super().__init__()
        self.x = nn.Parameter(0.1 + 0.8 * torch.rand(shape, generator=GENERATOR) if unit else _normal(*shape))
        self.module = module

    def forward(self, *rest: Tensor) -> Tensor:
        out = self.module(self.x, *rest)
        out = out[0] if isinstance(out, tuple) else out
        return (out * torch.linspace(0.5, 1.5, out.numel()).reshape(out.shape)).sum()


class OnInput(nn.Module):
    """A module with parameters of its own on constant inputs."""

    def __init__(self, module: nn.Module, call: Callable[..., Any] | None = None):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *inputs: Tensor) -> Tensor:
        out = self.module(*inputs) if self.call is None else self.call(self.module, *inputs)
        return (out[0] if isinstance(out, tuple) else out).pow(2).sum()


Build = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]
MODULES: dict[str, Build] = {}


def _probe(name: str, module: Callable[[], nn.Module], shape: tuple[int, ...], *rest: Tensor) -> None:
    MODULES[name] = lambda: (Probe(module(), shape), rest)


for _kind in (
    nn.ELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.PReLU,
    nn.ReLU,
    nn.ReLU6,
    nn.RReLU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
    nn.GLU,
    nn.Identity,
    nn.Flatten,
):
    _probe(_kind.__name__, _kind, (4, 6))
_probe("GELU, tanh", lambda: nn.GELU("tanh"), (4, 6))
_probe("Threshold", lambda: nn.Threshold(0.1, 2.0), (4, 6))
_probe("Softmin", lambda: nn.Softmin(1), (4, 6))
_probe("Softmax", lambda: nn.Softmax(1), (4, 6))
_probe("LogSoftmax", lambda: nn.LogSoftmax(1), (4, 6))
_probe("Softmax2d", nn.Softmax2d, (2, 3, 4, 4))
_probe(
    "AdaptiveLogSoftmaxWithLoss",
    lambda: nn.AdaptiveLogSoftmaxWithLoss(6, 10, [4, 7]),
    (5, 6),
    torch.tensor([1, 5, 8, 9, 0]),
)
_probe("Linear", lambda: nn.Linear(6, 3), (4, 6))
_probe("Bilinear", lambda: nn.Bilinear(6, 5, 3), (4, 6), _normal(4, 5))
_probe("LayerNorm", lambda: nn.LayerNorm(6), (4, 6))
_probe("GroupNorm", lambda: nn.GroupNorm(2, 4), (3, 4, 5))
_probe("RMSNorm", lambda: nn.RMSNorm(6), (4, 6))
_probe("LocalResponseNorm", lambda: nn.LocalResponseNorm(2), (3, 5, 4, 4))
_probe("Unflatten", lambda: nn.Unflatten(1, (2, 2)), (3, 4))
_probe("PixelShuffle", lambda: nn.PixelShuffle(2), (1, 4, 3, 3))
_probe("PixelUnshuffle", lambda: nn.PixelUnshuffle(2), (1, 1, 4, 4))
_probe("ChannelShuffle", lambda: nn.ChannelShuffle(2), (1, 4, 3, 3))
_probe("Fold", lambda: nn.Fold((4, 4), 2), (1, 8, 9))
_probe("Unfold", lambda: nn.Unfold(2), (1, 2, 4, 4))
_probe("CosineSimilarity", nn.CosineSimilarity, (4, 6), _normal(4, 6))
_probe("PairwiseDistance", lambda: nn.PairwiseDistance(3), (4, 6), _normal(4, 6))
_probe("Upsample, bicubic", lambda: nn.Upsample(scale_factor=2, mode="bicubic"), (1, 2, 4, 4))
_probe("UpsamplingBilinear2d", lambda: nn.UpsamplingBilinear2d(scale_factor=2), (1, 2, 4, 4))
_probe("Dropout", lambda: nn.Dropout(0.3), (4, 6))
_probe("AlphaDropout", lambda: nn.AlphaDropout(0.3), (4, 6))
_probe("RNN", lambda: nn.RNN(3, 4, nonlinearity="relu"), (5, 2, 3))
_probe("RNN, unbatched", lambda: nn.RNN(3, 4), (5, 3))
_probe(
    "GRU, two layers, both directions",
    lambda: nn.GRU(3, 2, num_layers=2, bidirectional=True, batch_first=True),
    (2, 3, 3),
)
_probe("LSTM", lambda: nn.LSTM(3, 4), (4, 2, 3))
_probe("LSTM, projected", lambda: nn.LSTM(3, 4, proj_size=2), (3, 2, 3))
_probe("RNNCell", lambda: nn.RNNCell(3, 4), (2, 3))
_probe("GRUCell", lambda: nn.GRUCell(3, 4), (2, 3))
_probe("LSTMCell", lambda: nn.LSTMCell(3, 4), (2, 3))


def _spatial(n: int) -> None:
    shape = (2, 4, *(7,) * n)
    smooth = ("linear", "bilinear", "trilinear")[n - 1]
    makers: dict[str, Callable[[], nn.Module]] = {
        "Conv": lambda: getattr(nn, f"Conv{n}d")(4, 6, 3, stride=2, padding=1, groups=2),
        "Conv, same": lambda: getattr(nn, f"Conv{n}d")(4, 2, 3, padding="same", dilation=2),
        "Conv, circular": lambda: getattr(nn, f"Conv{n}d")(4, 2, 3, padding=1, padding_mode="circular"),
        "Conv, reflect": lambda: getattr(nn, f"Conv{n}d")(4, 2, 3, padding=1, padding_mode="reflect"),
        "ConvTranspose": lambda: getattr(nn, f"ConvTranspose{n}d")(
            4, 6, 3, stride=2, padding=1, output_padding=1, groups=2
        ),
        "MaxPool": lambda: getattr(nn, f"MaxPool{n}d")(3, 2, 1, ceil_mode=True),
        "AvgPool": lambda: getattr(nn, f"AvgPool{n}d")(3, 2, 1, ceil_mode=True),
        "LPPool": lambda: getattr(nn, f"LPPool{n}d")(2, 3),
        "AdaptiveAvgPool": lambda: getattr(nn, f"AdaptiveAvgPool{n}d")(3),
        "AdaptiveMaxPool": lambda: getattr(nn, f"AdaptiveMaxPool{n}d")(3),
        "BatchNorm": lambda: getattr(nn, f"BatchNorm{n}d")(4),
        "InstanceNorm": lambda: getattr(nn, f"InstanceNorm{n}d")(4, affine=True),
        **{
            f"{p}Pad": lambda p=p: getattr(nn, f"{p}Pad{n}d")(1)
            for p in ("Reflection", "Replication", "Zero", "Circular")
        },
        "ConstantPad": lambda: getattr(nn, f"ConstantPad{n}d")(1, 2.0),
        "Upsample, nearest": lambda: nn.Upsample(scale_factor=1.5),
        "Upsample": lambda: nn.Upsample(scale_factor=2, mode=smooth),
        "Upsample, aligned": lambda: nn.Upsample((5,) * n, mode=smooth, align_corners=True),
    }
    for name, make in makers.items():
        _probe(f"{name} {n}d", make, shape)


for _n in (1, 2, 3):
    _spatial(_n)

BAGS = torch.tensor([[1, 2, 2], [3, 6, 0]])
for _mode in ("sum", "mean", "max"):
    MODULES[f"EmbeddingBag, {_mode}"] = lambda mode=_mode: (OnInput(nn.EmbeddingBag(7, 3, mode=mode)), (BAGS,))
MODULES["EmbeddingBag, offsets"] = lambda: (
    OnInput(nn.EmbeddingBag(7, 3, mode="mean", padding_idx=2)),
    (BAGS.reshape(-1), torch.tensor([0, 2])),
)
MODULES["Embedding"] = lambda: (OnInput(nn.Embedding(7, 3, padding_idx=1)), (BAGS,))
MODULES["Embedding, renormalised"] = lambda: (OnInput(nn.Embedding(7, 3, max_norm=0.5)), (BAGS,))

CAUSAL = nn.Transformer.generate_square_subsequent_mask(5)
PADDED = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])


def _attend(**options: Any) -> Build:
    return lambda: (
        OnInput(nn.MultiheadAttention(4, 2, batch_first=True), lambda m, x: m(x, x, x, **options)),
        (_normal(2, 5, 4),),
    )


MODULES |= {
    "MultiheadAttention": _attend(),
    "MultiheadAttention without weights": _attend(need_weights=False),
    "MultiheadAttention, causal": _attend(attn_mask=CAUSAL),
    "MultiheadAttention, causal flag": _attend(attn_mask=CAUSAL, is_causal=True, need_weights=False),
    "MultiheadAttention, padded": _attend(key_padding_mask=PADDED),
    "MultiheadAttention, both": _attend(key_padding_mask=PADDED, attn_mask=CAUSAL.isinf(), need_weights=False),
    "Transformer": lambda: (
        OnInput(nn.Transformer(4, 2, 1, 1, 6, batch_first=True), lambda m, x: m(x, x)),
        (_normal(2, 5, 4),),
    ),
}
for _norm_first in (False, True):
    for _activation in ("relu", "gelu"):
        for _mask, _options in (
            ("plain", {}),
            ("padded", {"src_key_padding_mask": PADDED}),
            ("causal", {"src_mask": CAUSAL, "is_causal": True}),
        ):
            MODULES[f"TransformerEncoderLayer, {'pre' if _norm_first else 'post'}-norm, {_activation}, {_mask}"] = (
                lambda f=_norm_first, a=_activation, o=_options: (
                    OnInput(
                        nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, norm_first=f, activation=a),
                        lambda m, x: m(x, **o),
                    ),
                    (_normal(2, 5, 4),),
                )
            )

BITS = torch.tensor([[0.0, 1.0, 1.0]] * 4)
CLASSES = torch.tensor([0, 1, 2, 2])
LOSSES: dict[str, tuple[Callable[[str], nn.Module], tuple[int, ...], tuple[Tensor, ...]]] = {
    "L1Loss": (lambda r: nn.L1Loss(reduction=r), (4, 3), (_normal(4, 3),)),
    "MSELoss": (lambda r: nn.MSELoss(reduction=r), (4, 3), (_normal(4, 3),)),
    "HuberLoss": (lambda r: nn.HuberLoss(reduction=r, delta=0.5), (4, 3), (_normal(4, 3),)),
    "SmoothL1Loss": (lambda r: nn.SmoothL1Loss(reduction=r), (4, 3), (_normal(4, 3),)),
    "CrossEntropyLoss": (
        lambda r: nn.CrossEntropyLoss(torch.tensor([0.5, 1.0, 2.0]), reduction=r, label_smoothing=0.1, ignore_index=1),
        (4, 3),
        (CLASSES,),
    ),
    "NLLLoss": (lambda r: nn.NLLLoss(reduction=r), (4, 3), (CLASSES,)),
    "PoissonNLLLoss": (lambda r: nn.PoissonNLLLoss(reduction=r, full=True), (4, 3), (BITS * 3,)),
    "KLDivLoss": (lambda r: nn.KLDivLoss(reduction="batchmean" if r == "mean" else r), (4, 3), (BITS + 0.5,)),
    "BCEWithLogitsLoss": (lambda r: nn.BCEWithLogitsLoss(reduction=r, pos_weight=torch.ones(3)), (4, 3), (BITS,)),
    "HingeEmbeddingLoss": (lambda r: nn.HingeEmbeddingLoss(reduction=r), (4, 3), (2 * BITS - 1,)),
    "MultiLabelMarginLoss": (
        lambda r: nn.MultiLabelMarginLoss(reduction=r),
        (2, 4),
        (torch.tensor([[3, 0, -1, 1], [1, -1, -1, -1]]),),
    ),
    "SoftMarginLoss": (lambda r: nn.SoftMarginLoss(reduction=r), (4, 3), (2 * BITS - 1,)),
    "MultiLabelSoftMarginLoss": (lambda r: nn.MultiLabelSoftMarginLoss(reduction=r), (4, 3), (BITS,)),
    "CosineEmbeddingLoss": (
        lambda r: nn.CosineEmbeddingLoss(reduction=r, margin=0.1),
        (4, 3),
        (_normal(4, 3), torch.tensor([1, -1, 1, -1])),
    ),
    "MultiMarginLoss": (lambda r: nn.MultiMarginLoss(reduction=r, p=2), (4, 3), (CLASSES,)),
    "MarginRankingLoss": (
        lambda r: nn.MarginRankingLoss(reduction=r),
        (4,),
        (_normal(4), torch.tensor([1.0, -1, 1, -1])),
    ),
    "TripletMarginLoss": (
        lambda r: nn.TripletMarginLoss(reduction=r, swap=True),
        (4, 3),
        (_normal(4, 3), _normal(4, 3)),
    ),
    "TripletMarginWithDistanceLoss": (
        lambda r: nn.TripletMarginWithDistanceLoss(reduction=r, distance_function=nn.PairwiseDistance()),
        (4, 3),
        (_normal(4, 3), _normal(4, 3)),
    ),
    "GaussianNLLLoss": (lambda r: nn.GaussianNLLLoss(reduction=r, full=True), (4, 3), (_normal(4, 3), BITS + 0.5)),
}
for _name, (_make, _shape, _rest) in LOSSES.items():
    for _reduction in ("mean", "none"):
        _probe(f"{_name}, {_reduction}", lambda make=_make, r=_reduction: make(r), _shape, *_rest)


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_opaque(name):
    module, inputs = MODULES[name]()
    graph = Objective(module, None, inputs).graph()
    assert not [n.attributes["target"] for n in graph if n.op == "opaque"]


def test_training_mode_of_batch_norm():
    J = Objective(Probe(nn.BatchNorm1d(3), (5, 3)), None, (), mode="train")
    assert not [n for n in J.graph() if n.op == "opaque"]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_cross_entropy(reduction):
    """Its argument is a probability, so the domain says so."""
    loss = nn.BCELoss(reduction=reduction)
    J = Objective.from_function(lambda p: loss(p, BITS).sum(), {"p": torch.full((4, 3), 0.3)}, domain={"p": (0.0, 1.0)})
    assert not [n for n in J.graph() if n.op == "opaque"]


OPAQUE: dict[str, Callable[[Tensor], Tensor]] = {
    "quantile": lambda w: w.quantile(0.3),
    "argmax as a factor": lambda w: w.argmax() * w.sum(),
    "lgamma": lambda w: torch.lgamma(w * w + 1).sum(),
    "erfinv": lambda w: torch.erfinv(torch.tanh(w)).sum(),
    "bessel": lambda w: torch.special.i0(w).sum(),
    "inverse": lambda w: torch.linalg.inv(torch.outer(w, w) + torch.eye(4)).sum(),
    "grid sample": lambda w: F.grid_sample(
        w.reshape(1, 1, 2, 2), w.tanh().reshape(1, 1, 2, 2), align_corners=False
    ).sum(),
    "renorm": lambda w: torch.renorm(w.reshape(2, 2), 2, 0, 0.1).sum(),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_stays_opaque(name):
    """No formula in the primitives: a node of which nothing is known, so nothing is claimed."""
    graph = Objective.from_function(OPAQUE[name], {"w": torch.tensor([0.3, -1.2, 0.8, 2.0])}).graph()
    assert [n for n in graph if n.op == "opaque"]
