"""The rows of the table of activations; each is a target of the command line.

Of the row ``silu``:

    epigraph check docs/tables/activations.py:silu            on the whole line
    epigraph check docs/tables/activations.py:silu_1          on its second piece, [-2.399..., 2.399...]
    epigraph check docs/tables/activations.py:silu_1_above    just above that piece
    epigraph check docs/tables/activations.py:silu_positive   where it is positive
    epigraph check docs/tables/activations.py:silu_log        its logarithm there

Rows of several variables have their name alone.
"""

from __future__ import annotations

from activation_curve import Box, Curve, End, Piece, derivative, flat, jump, kink, root, turn
from table_case import Case

RIGHT: Box = (0.0, None)
LINE: Box = (None, None)
CONVEX = (Piece("convex"),)
CONCAVE = (Piece("concave"),)


def meets(low: End, high: End) -> tuple[Piece, ...]:
    """Convex up to ``high``, concave from ``low``."""
    return Piece("convex", None, high), Piece("concave", low, None)


def bump(name: str, module: str, when: str, left: float, lowest: float, right: float) -> Curve:
    """Concave, convex, concave; falls, then rises."""
    a, t, b = root(name, 2, left), root(name, 1, lowest), root(name, 2, right)
    pieces = (Piece("concave", None, a), Piece("convex", a, b), Piece("concave", b, None))
    turns = (Piece("falls", None, t), Piece("rises", t, None))
    least = float(derivative(name, 0, t.low).mid())
    steepest = float(derivative(name, 1, b.low).mid())
    return Curve(name, module, when, pieces, turns, RIGHT, least, None, steepest)


# fmt: off
RECTIFIERS = (
    Curve("relu", "nn.ReLU()", "ReLU", CONVEX, positive=RIGHT, least=0.0),
    Curve("leaky_relu", "nn.LeakyReLU()", "LeakyReLU, slope 0.01", CONVEX),
    Curve("leaky_relu_steep", "nn.LeakyReLU(2.0)", "LeakyReLU, slope 2", CONCAVE, lipschitz=2.0),
    Curve("leaky_relu_down", "nn.LeakyReLU(-0.5)", "LeakyReLU, slope −0.5", CONVEX, (Piece("falls", None, kink(0.0)), Piece("rises", kink(0.0))), least=0.0),
    Curve("rrelu", "nn.RReLU().eval()", "RReLU in eval mode: slope 11/48", CONVEX),
    Curve("rrelu_train", "nn.RReLU()", "RReLU in train mode", ()),
    Curve("relu6", "nn.ReLU6()", "ReLU6", meets(kink(0.0), kink(6.0)), positive=RIGHT, least=0.0, most=6.0),
    Curve("threshold", "nn.Threshold(1.0, 1.0)", "Threshold, value = threshold", CONVEX, positive=LINE, least=1.0),
    Curve("threshold_jump", "nn.Threshold(1.0, 0.0)", "Threshold(1, 0)",
          (Piece("affine", None, jump(1.0)), Piece("affine", jump(1.0), open=True)), least=0.0, lipschitz=None),
)
EXPONENTIAL = (
    Curve("elu", "nn.ELU()", "ELU, α = 1", CONVEX, least=-1.0),
    Curve("elu_half", "nn.ELU(0.5)", "ELU, α = 0.5", CONVEX, least=-0.5),
    Curve("elu_two", "nn.ELU(2.0)", "ELU, α = 2", meets(kink(0.0), kink(0.0)), least=-2.0, lipschitz=2.0),
    Curve("elu_negative", "nn.ELU(-1.0)", "ELU, α = −1", (Piece("concave", None, kink(0.0)), Piece("convex", kink(0.0))),
          (Piece("falls", None, kink(0.0)), Piece("rises", kink(0.0))), least=0.0),
    Curve("celu", "nn.CELU()", "CELU, α = 1", CONVEX, least=-1.0),
    Curve("celu_two", "nn.CELU(2.0)", "CELU, α = 2", CONVEX, least=-2.0),
    Curve("celu_negative", "nn.CELU(-1.0)", "CELU, α = −1", CONCAVE, lipschitz=None),
    Curve("selu", "nn.SELU()", "SELU", meets(kink(0.0), kink(0.0)), least=-1.7580993408473766, lipschitz=1.7580993408473766),
)
SMOOTH = (
    bump("silu", "nn.SiLU()", "SiLU", -2.3994, -1.2785, 2.3994),
    bump("gelu", "nn.GELU()", "GELU", -1.4142, -0.7518, 1.4142),
    bump("gelu_tanh", "nn.GELU(approximate='tanh')", "GELU, approximate='tanh'", -1.4185, -0.7525, 1.4185),
    bump("mish", "nn.Mish()", "Mish", -2.2564, -1.1924, 1.4906),
    Curve("softplus", "nn.Softplus()", "Softplus", CONVEX, positive=LINE, least=0.0),
    Curve("softplus_beta", "nn.Softplus(beta=2.0)", "Softplus, β = 2", CONVEX, positive=LINE, least=0.0),
    Curve("softplus_negative", "nn.Softplus(beta=-1.0)", "Softplus, β = −1", CONCAVE, most=0.0),
    Curve("softplus_threshold", "nn.Softplus(threshold=5.0)", "Softplus, threshold = 5", (Piece("convex", None, jump(5.0)), Piece("affine", jump(5.0), open=True)),
          positive=(None, 5.0), least=0.0, lipschitz=None),
    Curve("log_sigmoid", "nn.LogSigmoid()", "LogSigmoid", CONCAVE, most=0.0),
)
SIGMOIDAL = (
    Curve("sigmoid", "nn.Sigmoid()", "Sigmoid", meets(flat(0.0), flat(0.0)), positive=LINE, least=0.0, most=1.0, lipschitz=0.25),
    Curve("tanh", "nn.Tanh()", "Tanh", meets(flat(0.0), flat(0.0)), positive=RIGHT, least=-1.0, most=1.0),
    Curve("softsign", "nn.Softsign()", "Softsign", meets(flat(0.0), flat(0.0)), positive=RIGHT, least=-1.0, most=1.0),
    Curve("hardsigmoid", "nn.Hardsigmoid()", "Hardsigmoid", meets(kink(-3.0), kink(3.0)), positive=(-3.0, None), least=0.0, most=1.0, lipschitz=1 / 6),
    Curve("hardtanh", "nn.Hardtanh()", "Hardtanh", meets(kink(-1.0), kink(1.0)), positive=RIGHT, least=-1.0, most=1.0),
    Curve("hardswish", "nn.Hardswish()", "Hardswish", (Piece("concave", None, flat(-3.0)), Piece("convex", kink(-3.0), kink(3.0)), Piece("concave", flat(3.0))),
          (Piece("falls", None, turn(-1.5)), Piece("rises", turn(-1.5))), RIGHT, -0.375, None, 1.5),
)
SHRINKING = (
    Curve("tanhshrink", "nn.Tanhshrink()", "Tanhshrink", (Piece("concave", None, flat(0.0)), Piece("convex", flat(0.0))), positive=RIGHT),
    Curve("softshrink", "nn.Softshrink()", "Softshrink, λ = 0.5", (Piece("concave", None, kink(0.5)), Piece("convex", kink(-0.5)))),
    Curve("hardshrink", "nn.Hardshrink()", "Hardshrink, λ = 0.5",
          (Piece("affine", None, jump(-0.5), open=True), Piece("affine", jump(-0.5), jump(0.5)), Piece("affine", jump(0.5), open=True)),
          lipschitz=None),
)

THREE = {"x": (3,)}
KEYS = {"k": "tensor([[1, 0], [0, 1], [1, 1]])", "v": "tensor([[1, -1], [2, 0], [0, 3]])"}
ATTENTION = "F.scaled_dot_product_attention(q, k, v).sum()"
SEVERAL = (
    Case("prelu", "nn.PReLU()", "PReLU in its input, weight 0.25", {"x": ()}, {"w": "tensor([0.25])"}, "F.prelu(x, w)", linear=False),
    Case("prelu_steep", "nn.PReLU()", "PReLU in its input, weight 2", {"x": ()}, {"w": "tensor([2])"}, "F.prelu(x, w)", linear=False),
    Case("prelu_weight", "nn.PReLU()", "PReLU in its weight, input −1.5", {"w": (1,)}, {"x": "tensor(-1.5)"}, "F.prelu(x, w)", linear=False),
    Case("prelu_joint", "nn.PReLU()", "PReLU in input and weight", {"x": (), "w": (1,)}, {}, "F.prelu(x, w)", linear=False),
    Case("glu", "nn.GLU()", "GLU(a, b) = a σ(b) in both", {"x": (2,)}, {}, "loss(x).sum()", linear=False),
    Case("glu_value", "nn.GLU()", "GLU in a, b = 0.5", {"a": (1,)}, {"b": "tensor([0.5])"}, "loss(torch.cat([a, b])).sum()", linear=False),
    Case("glu_gate", "nn.GLU()", "GLU in b, a = 2", {"b": (1,)}, {"a": "tensor([2])"}, "loss(torch.cat([a, b])).sum()", linear=False),
    Case("softmax", "nn.Softmax(0)", "an entry of Softmax", THREE, {}, "loss(x)[0]", linear=False),
    Case("softmax_log", "nn.Softmax(0)", "log of an entry of Softmax", THREE, {}, "torch.log(loss(x)[0])", linear=False),
    Case("softmin", "nn.Softmin(0)", "an entry of Softmin", THREE, {}, "loss(x)[0]", linear=False),
    Case("log_softmax", "nn.LogSoftmax(0)", "an entry of LogSoftmax", THREE, {}, "loss(x)[0]", linear=False),
    Case("softmax2d", "nn.Softmax2d()", "an entry of Softmax2d", {"x": (3, 1, 1)}, {}, "loss(x)[0, 0, 0]", linear=False),
    Case("attention_query", "None", "an attention head in the queries", {"q": (3, 2)}, KEYS, ATTENTION, linear=False),
    Case("attention_key", "None", "an attention head in the keys", {"k": (3, 2)}, {"q": KEYS["k"], "v": KEYS["v"]}, ATTENTION, linear=False),
    Case("attention_value", "None", "an attention head in the values", {"v": (3, 2)}, {"q": KEYS["v"], "k": KEYS["k"]}, ATTENTION, linear=False),
)
# fmt: on

FAMILIES: dict[str, tuple[Curve, ...]] = {
    "Rectifiers": RECTIFIERS,
    "Exponential units": EXPONENTIAL,
    "Smooth rectifiers": SMOOTH,
    "Sigmoidal": SIGMOIDAL,
    "Shrinking": SHRINKING,
}

# What the table leaves out, with the reason.
LEFT_OUT = {"MultiheadAttention": "a network with weights of its own; a head of it is in the last table"}

globals().update({name: build for curves in FAMILIES.values() for c in curves for name, build in c.targets().items()})
globals().update({case.name: case.input for case in SEVERAL})
