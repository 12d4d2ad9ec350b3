"""Derivations written by hand, from mathematics: graphs as in a certificate, claims and intervals for every node."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

INF = math.inf
# claims in words: aff+ is affine and nonnegative, const a constant of unknown sign, const+ a nonnegative one
WORDS = {
    "": 0,
    "aff": 15,
    "aff+": 47,
    "cvx": 5,
    "ccv": 10,
    "ccv+": 42,
    "qcx": 4,
    "qcv": 8,
    "q": 12,
    "lcx": 85,
    "lcv": 40,
    "laff": 125,
    "rcx": 69,
    "const": 15,
    "const+": 127,
    "q+lcv": 44,
    "cvxq": 13,
    "cvxq+lcv": 45,
    "lcxq": 93,
    "ccvq": 14,
    "ccvq+": 46,
}


class Hand:
    """A graph and its derivation, node by node."""

    def __init__(self, goal: str, active: Sequence[str]):
        self.goal, self.active = goal, tuple(active)
        self.nodes: list[dict[str, Any]] = []
        self.records: dict[str, dict[str, Any]] = {}
        self.tensors: dict[str, np.ndarray] = {}
        self.domain: dict[str, list[Any]] = {}

    def put(
        self,
        op: str,
        inputs: Sequence[int],
        shape: tuple[int, ...],
        claims: Any,
        low: Any,
        high: Any,
        carrier: tuple[int, int] | None,
        varies: bool,
        attributes: dict[str, Any],
    ) -> int:
        number = len(self.nodes)
        self.nodes.append(
            {"id": number, "op": op, "inputs": list(inputs), "attributes": attributes, "shape": list(shape)}
        )
        bits = (
            WORDS[claims]
            if isinstance(claims, str)
            else self.keep(np.array([WORDS[c] for c in claims], dtype=np.uint8).reshape(shape))
        )
        self.records[str(number)] = {
            "bits": bits,
            "lower": self.bound(low),
            "upper": self.bound(high),
            "carrier": None if carrier is None else list(carrier),
            "varies": varies,
        }
        return number

    def bound(self, value: Any) -> Any:
        return float(value).hex() if np.ndim(value) == 0 else self.keep(np.asarray(value, dtype=np.float64))

    def keep(self, array: np.ndarray) -> dict[str, str]:
        key = f"t{len(self.tensors)}"
        self.tensors[key] = array
        return {"tensor": key}

    def parameter(
        self, name: str, shape: tuple[int, ...] = (), low: float | None = None, high: float | None = None
    ) -> int:
        key = self.keep(np.zeros(shape))["tensor"]
        if low is not None or high is not None:
            self.domain[name] = [None if v is None else float(v).hex() for v in (low, high)]
        least, most = -INF if low is None else low, INF if high is None else high
        active = name in self.active
        word = ("aff+" if least >= 0 else "aff") if active else "const+" if least >= 0 else "const"
        return self.put(
            "parameter",
            (),
            shape,
            word,
            least,
            most,
            (len(self.nodes), 1) if active else None,
            active,
            {"name": name, "tensor": key},
        )

    def number(self, text: str) -> int:
        from fractions import Fraction

        value = float(Fraction(text))
        return self.put(
            "constant", (), (), "const+" if value >= 0 else "const", value, value, None, False, {"value": text}
        )

    def data(self, values: Any) -> int:
        array = np.asarray(values)
        key = self.keep(array)["tensor"]
        low = array.astype(np.float64) if array.dtype.kind == "f" else float(array.min())
        high = low if array.dtype.kind == "f" else float(array.max())
        word = "const+" if array.size and array.min() >= 0 else "const"
        return self.put("constant", (), array.shape, word, low, high, None, False, {"tensor": key})

    def __call__(
        self,
        op: str,
        *inputs: int,
        claims: Any,
        low: Any = -INF,
        high: Any = INF,
        shape: tuple[int, ...] | None = None,
        carrier: tuple[int, int] | None = None,
        **attributes: Any,
    ) -> int:
        found = tuple(self.nodes[inputs[0]]["shape"]) if shape is None else shape
        varies = any(self.records[str(i)]["varies"] for i in inputs)
        return self.put(op, inputs, found, claims, low, high, carrier, varies, attributes)

    def built(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        """(graph, tensors, derivation)."""
        graph = {"nodes": self.nodes, "output": len(self.nodes) - 1}
        return (
            graph,
            self.tensors,
            {"property": self.goal, "active": list(self.active), "domain": self.domain, "nodes": self.records},
        )


X = np.array([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.25]])


def _residual(h: Hand) -> int:
    w = h.parameter("w", (2, 1))
    z = h("matmul", h.data(X), w, claims="aff", shape=(3, 1))
    return h("add", z, h.data(np.array([[1.0], [-1.0], [0.5]])), claims="aff", carrier=(z, 1))


def least_squares() -> Hand:
    h = Hand("convex", ["w"])
    r = _residual(h)
    s = h("power", r, claims="rcx", low=0, exponent="2")
    h("sum", s, claims="rcx", low=0, shape=(), dims=[0, 1])
    return h


def least_absolute() -> Hand:
    h = Hand("convex", ["w"])
    a = h("abs", _residual(h), claims="cvx", low=0)
    h("amax", a, claims="cvx", low=0, shape=(), dims=[0, 1])
    return h


def logistic() -> Hand:
    """Both spellings, so that J is seen to be convex for every real label."""
    h = Hand("convex", ["w"])
    w = h.parameter("w", (2, 1))
    z = h("matmul", h.data(X), w, claims="aff", shape=(3, 1))
    y = h.data(np.array([[0.0], [1.0], [1.5]]))
    s = h("softplus", z, claims="cvxq+lcv", low=0, carrier=(z, 1))
    n = h("neg", z, claims="aff", carrier=(z, -1))
    t = h("softplus", n, claims="cvxq+lcv", low=0, carrier=(z, -1))
    c = h.data(np.array([[1.0], [0.0], [-0.5]]))
    yt = h("mul", y, t, claims="cvx", low=0)
    cs = h("mul", c, s, claims=["cvx", "cvx", "ccv"])
    split = h("add", yt, cs, claims=["cvx", "cvx", ""])
    yz = h("mul", y, z, claims="aff")
    minus = h("neg", yz, claims="aff")
    plain = h("add", s, minus, claims="cvx")
    both = h("same", split, plain, claims="cvx")
    h("sum", both, claims="cvx", shape=(), dims=[0, 1])
    return h


def cross_entropy() -> Hand:
    h = Hand("convex", ["z"])
    z = h.parameter("z", (3,))
    norm = h("logsumexp", z, claims="cvx", shape=(), dims=[0])
    piece = h("slice", z, claims="aff", shape=(1,), dim=0, start=1, stop=2, step=1)
    own = h("sum", piece, claims="aff", shape=(), dims=[0])
    h("add", norm, h("neg", own, claims="aff"), claims="cvx")
    return h


def log_cosh() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x")
    a = h("exp", x, claims="laff", low=0, carrier=(x, 1))
    b = h("exp", h("neg", x, claims="aff", carrier=(x, -1)), claims="laff", low=0, carrier=(x, -1))
    h("log", h("add", a, b, claims="lcx", low=0), claims="cvx")
    return h


def norm() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", (3,))
    s = h("sum", h("power", x, claims="rcx", low=0, exponent="2"), claims="rcx", low=0, shape=(), dims=[0])
    h("sqrt", s, claims="cvx", low=0)
    return h


def quadratic_over_linear() -> Hand:
    h = Hand("convex", ["x", "y"])
    x, y = h.parameter("x"), h.parameter("y", low=0.0)
    h("div", h("power", x, claims="rcx", low=0, exponent="2"), y, claims="cvx", low=0)
    return h


def reciprocal() -> Hand:
    h = Hand("log_convex", ["x"])
    x = h.parameter("x", low=0.0)
    h("power", x, claims="lcxq", low=0, carrier=(x, -1), exponent="-1")
    return h


def entropy() -> Hand:
    h = Hand("concave", ["p"])
    p = h.parameter("p", (3,), 0.0, 1.0)
    e = h("xlogx", p, claims="cvx", low=-0.37, high=0)
    h("neg", h("sum", e, claims="cvx", low=-1.2, high=0, shape=(), dims=[0]), claims="ccv+", low=0, high=1.2)
    return h


def minus_log() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", low=0.0)
    f = h("log", x, claims="ccvq", carrier=(x, 1))
    h("neg", f, claims="cvxq", carrier=(x, -1))
    return h


def probit() -> Hand:
    h = Hand("convex", ["w"])
    f = h("log_ndtr", _residual(h), claims="ccv", high=0)
    h("neg", h("sum", f, claims="ccv", high=0, shape=(), dims=[0, 1]), claims="cvx", low=0)
    return h


def hinge() -> Hand:
    h = Hand("convex", ["w"])
    r = _residual(h)
    m = h("add", h("neg", r, claims="aff"), h.number("1"), claims="aff")
    h("sum", h("relu", m, claims="cvx", low=0), claims="cvx", low=0, shape=(), dims=[0, 1])
    return h


def huber() -> Hand:
    h = Hand("convex", ["w"])
    f = h(
        "piecewise",
        _residual(h),
        claims="cvx",
        low=0,
        knots=["-1", "1"],
        pieces=[["-1/2", "-1"], ["0", "0", "1/2"], ["-1/2", "1"]],
    )
    h("sum", f, claims="cvx", low=0, shape=(), dims=[0, 1])
    return h


def largest() -> Hand:
    h = Hand("convex", ["x", "y"])
    x, y = h.parameter("x"), h.parameter("y")
    s = h("add", x, y, claims="aff")
    h(
        "maximum",
        h("maximum", x, s, claims="cvx"),
        h("mul", h.number("-3"), y, claims="aff", carrier=(y, -1)),
        claims="cvx",
    )
    return h


def root_of_size() -> Hand:
    h = Hand("quasiconvex", ["x"])
    x = h.parameter("x")
    a = h("abs", x, claims="cvx", low=0, carrier=(x, 0))
    h("sqrt", a, claims="qcx", low=0, carrier=(x, 0))
    return h


def sigmoid() -> Hand:
    h = Hand("log_concave", ["x"])
    x = h.parameter("x")
    h("sigmoid", x, claims="q+lcv", low=0, high=1, carrier=(x, 1))
    return h


def gaussian() -> Hand:
    h = Hand("log_concave", ["x"])
    x = h.parameter("x", (2,))
    q = h("sum", h("power", x, claims="rcx", low=0, exponent="2"), claims="rcx", low=0, shape=(), dims=[0])
    h("exp", h("neg", q, claims="ccv", high=0), claims="lcv", low=0, high=1.1)
    return h


def increasing_product() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", low=0.0)
    e = h("exp", x, claims="laff", low=1, carrier=(x, 1))
    h("mul", x, e, claims="cvxq+lcv", low=0, carrier=(x, 1))
    return h


def silu() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", low=-2.3993572805154675, high=2.3993572805154675)
    h("silu", x, claims="cvx", low=-0.27846454276107385, high=2.3, carrier=(x, 0))
    return h


def gelu_of_square() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", low=-1.0, high=1.0)
    s = h("power", x, claims="rcx", low=0, high=1, carrier=(x, 0), exponent="2")
    h("gelu", s, claims="cvx", low=0, high=0.85, carrier=(x, 0))
    return h


def ratio() -> Hand:
    h = Hand("quasiconcave", ["x", "y"])
    x, y = h.parameter("x", low=0.0), h.parameter("y", low=0.0)
    top = h("add", x, h.number("-1"), claims="aff", low=-1, carrier=(x, 1))
    h("div", top, h("add", y, h.number("2"), claims="aff+", low=2, carrier=(y, 1)), claims="q", low=-0.5)
    return h


def log_softmax() -> Hand:
    h = Hand("concave", ["z"])
    f = h("log_softmax", h.parameter("z", (2, 3)), claims="ccv", high=0, dim=1)
    h("sum", f, claims="ccv", high=0, shape=(), dims=[0, 1])
    return h


def masked() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", (2,))
    c = h.data(np.array([1.0, 0.0]))
    up = h("power", x, claims="rcx", low=0, exponent="2")
    down = h("neg", up, claims="ccv", high=0)
    chosen = h("where", c, up, down, claims=["rcx", "ccv"], low=np.array([0.0, -INF]), high=np.array([INF, 0.0]))
    first = h("take", chosen, h.data(np.array([0, 0, 0])), claims="rcx", low=0, shape=(3,), dim=0)
    h("sum", first, claims="rcx", low=0, shape=(), dims=[0])
    return h


def input_convex_network() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", (1, 2))
    a = h("matmul", x, h.data(X.T.copy()), claims="aff", shape=(1, 3))
    r = h("relu", a, claims="cvx", low=0)
    m = h("matmul", r, h.data(np.array([[1.0], [0.0], [2.0]])), claims="cvx", low=0, shape=(1, 1))
    h("softplus", m, claims="cvx", low=0.6)
    return h


def held_factor() -> Hand:
    h = Hand("convex", ["x"])
    x, p = h.parameter("x"), h.parameter("p", low=0.0)
    h("mul", p, h("power", x, claims="rcx", low=0, exponent="2"), claims="rcx", low=0)
    return h


def half_space() -> Hand:
    h = Hand("quasiconvex", ["x", "y"])
    h("compare", h.parameter("x"), h.parameter("y"), claims="q+lcv", low=0, high=1, relation="lt")
    return h


def filtered() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", (1, 1, 4), -1.0, 1.0)
    k = h.data(np.array([[[1.0, -2.0]]]))
    f = h(
        "convolution",
        x,
        k,
        claims="aff",
        low=-4,
        high=4,
        shape=(1, 1, 5),
        stride=[1],
        padding=[1],
        dilation=[1],
        groups=1,
    )
    s = h("power", f, claims="rcx", low=0, high=16, exponent="2")
    h("sum", s, claims="rcx", low=0, high=80, shape=(), dims=[0, 1, 2])
    return h


def cosine() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", low=2.0, high=4.0)
    h("cos", x, claims="cvx", low=-1, high=-0.4, carrier=(x, 0))
    return h


def log_convex_product() -> Hand:
    h = Hand("log_convex", ["x", "y"])
    x, y = h.parameter("x"), h.parameter("y")
    a = h("exp", x, claims="laff", low=0, carrier=(x, 1))
    b = h("exp", y, claims="laff", low=0, carrier=(y, 1))
    c = h("exp", h("neg", y, claims="aff", carrier=(y, -1)), claims="laff", low=0, carrier=(y, -1))
    h("mul", a, h("add", b, c, claims="lcx", low=0), claims="lcx", low=0)
    return h


def side_by_side() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", (2,), -3.0, -1.5)
    m = h("mish", x, claims=["", ""], low=-0.31, high=0, carrier=(x, 0))
    e = h("elu", x, claims="cvxq", low=-1, high=0, carrier=(x, 1), alpha="1")
    t = h("tanh", x, claims="cvxq", low=-1, high=-0.9, carrier=(x, 1))
    joined = h("concat", m, e, t, claims=["", "", *["cvxq"] * 4], low=-1, high=0, shape=(6,), dim=0)
    kept = h("slice", joined, claims="cvxq", low=-1, high=0, shape=(2,), dim=0, start=2, stop=6, step=2)
    h("logsumexp", kept, claims="cvx", low=-0.31, high=0.7, shape=(), dims=[0])
    return h


HANDS: list[Callable[[], Hand]] = [
    least_squares,
    least_absolute,
    logistic,
    cross_entropy,
    log_cosh,
    norm,
    quadratic_over_linear,
    reciprocal,
    entropy,
    minus_log,
    probit,
    hinge,
    huber,
    largest,
    root_of_size,
    sigmoid,
    gaussian,
    increasing_product,
    silu,
    gelu_of_square,
    ratio,
    log_softmax,
    masked,
    input_convex_network,
    held_factor,
    half_space,
    filtered,
    cosine,
    log_convex_product,
    side_by_side,
]
