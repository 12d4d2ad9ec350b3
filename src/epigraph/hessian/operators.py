"""The operators by name; a name that is missing here has no derivative."""

from __future__ import annotations

from epigraph.calculus.derivatives import SMOOTH
from epigraph.hessian import curved, linear
from epigraph.hessian.sweep import Operator

OPERATORS: dict[str, Operator] = {
    "add": curved.Add(),
    "neg": linear.Neg(),
    "mul": curved.Mul(),
    "matmul": curved.Matmul(),
    "where": curved.Where(),
    "sort": curved.Sort(),
    "sum": linear.Sum(),
    "amax": curved.Amax(),
    "logsumexp": curved.LogSumExp(),
    "log_softmax": curved.LogSoftmax(),
    "reshape": linear.Reshape(),
    "permute": linear.Permute(),
    "expand": linear.Expand(),
    "slice": linear.Slice(),
    "concat": linear.Concat(),
    "take": linear.Take(),
    **dict.fromkeys(("sign", "floor", "compare"), curved.Step()),
    **dict.fromkeys((*SMOOTH, "relu", "abs", "elu", "piecewise"), curved.Elementwise()),
}
