"""Formulas on which a hasty rule or a float search says something wrong.  Undecided is a good answer here.

Most are identities, or differ from a convex function only far away, in a small place, or below rounding, so that the
float64 oracle is of no use: every reason is a proof.
"""

from __future__ import annotations

from case import Case, formula

IDENTITY = "the identity holds for all real arguments"
TRAPS: list[Case] = [
    formula("log(exp(x))", "affine", IDENTITY),
    formula("exp(log(x))", "affine", IDENTITY, where="x>0"),
    formula("sqrt(x)**2", "affine", IDENTITY, where="x>=0"),
    formula("sqrt(x**2) - abs(x) + y", "affine", "y"),
    formula("sigmoid(x) + sigmoid(-x)", "affine", "constant 1"),
    formula("sin(x)**2 + cos(x)**2", "affine", "constant 1"),
    formula("tanh(x) - 2*sigmoid(2*x) + 1", "affine", "constant 0"),
    formula("softplus(x) - softplus(-x)", "affine", "x"),
    formula("relu(x)*relu(-x)", "affine", "constant 0"),
    formula("relu(x)*abs(x)", "convex", "relu(x)²"),
    formula("relu(x - 1)*relu(x + 1)", "convex", "x² - 1 for x >= 1 and 0 before: increasing slope"),
    formula("relu(x + 1)*relu(1 - x)", "nonconvex", "1 - x² inside [-1, 1], 0 outside", quasiconcave=True),
    formula("max(x, y) + log(exp(x - max(x, y)) + exp(y - max(x, y)))", "convex", "log-sum-exp, shifted"),
    formula("(x + 1e8)**2 - 1e16 - 2e8*x", "convex", "x²: all constants are exact"),
    formula("(x + y)**2 - x**2 - 2*x*y - y**2", "affine", "constant 0"),
    formula("x**4 - 4*x**3 + 6*x**2 - 4*x + 1", "convex", "(x - 1)⁴"),
    formula(
        "0.3*x**2 - 0.1*x**2*3", "concave", "the float64 literals give 0.3 - 3 * 0.1 = -2.8e-17 exactly below zero"
    ),
    formula("0.5*x**2 - 0.25*x**2*2", "affine", "0.5 and 0.25 are exact: constant 0"),
    formula("where(x > 1, x, x)", "affine", "x"),
    formula(
        "where(x > 0, x**2, -x**2)",
        "nonconvex",
        "concave for x < 0, convex for x > 0",
        quasiconvex=True,
        quasiconcave=True,
    ),
    formula("where(x > 0, x + 1, x)", "nonconvex", "a jump upwards at 0", quasiconvex=True, quasiconcave=True),
    formula("where(x > 0, 1, 0)*x", "convex", "relu"),
    formula("where(x < 0, 1, 0)*x", "concave", "min(x, 0)"),
    formula("where(x >= 0, 1, -1)*x", "convex", "|x|"),
    formula("x**2 - 1e-12*x**4", "nonconvex", "second derivative 2 - 1.2e-11 x² < 0 beyond 4.1e5"),
    formula("x**2 - 1e-12*x**4", "convex", "second derivative at least 2 - 1.2e-11", where="-1<=x<=1"),
    formula("x**2 + 1e-6*sin(1e3*x)", "convex", "second derivative 2 - sin >= 1"),
    formula("x**2 + 1e-6*sin(2e3*x)", "nonconvex", "second derivative 2 - 4 sin, negative in places"),
    formula(
        "abs(x) - 1e-9*x**2", "nonconvex", "second derivative -2e-9 on each side, and a convex kink", concave=False
    ),
    formula("1/(1 + x**2)**2", "nonconvex", "bounded and not constant", quasiconcave=True),
    formula("exp(exp(x))", "convex", "increasing convex of convex", log_convex=True),
    formula(
        "exp(-exp(x))", "nonconvex", "bounded and not constant", log_concave=True, quasiconvex=True, quasiconcave=True
    ),
    formula("exp(-exp(-x))", "nonconvex", "bounded and not constant", log_concave=True, quasiconvex=True),
    formula("max(min(x, y), 0)", "nonconvex", "0 on both axes, 1 between (2, 0) and (0, 2)"),
    formula("max(min(x, x), -x)", "convex", "|x|"),
    formula(
        "x*y/norm(x, y)",
        "nonconvex",
        "on the diagonal x y / norm is |x|/sqrt(2), on the other -|x|/sqrt(2)",
        concave=False,
    ),
    formula("norm(x, y)*norm(x, y)", "convex", "x² + y²"),
    formula("sqrt(x**2 + 2*x + 1)", "convex", "|x + 1|"),
    formula("sqrt(x**2 + 2*x + 3)", "convex", "norm of (x + 1, sqrt 2)"),
    formula("abs(x**2 - 1)", "nonconvex", "1 at 0, 0 at -1 and 1"),
    formula("abs(x**2 + 1)", "convex", "x² + 1"),
    formula(
        "(x**2 + 1)*(y**2 + 1)", "nonconvex", "at (1, 1) the Hessian [[4, 4], [4, 4]] is singular, beyond indefinite"
    ),
    formula("x**2*y**2 + x**2 + y**2", "nonconvex", "at (2, 2) the Hessian is [[10, 16], [16, 10]]"),
    formula(
        "x**2*y**2 + x**2 + y**2",
        "convex",
        "Hessian determinant 4(1 + y²)(1 + x²) - 16x²y² > 0 for x, y in [0, 1/2]",
        where="0<=x<=0.5,0<=y<=0.5",
    ),
    formula("(x - y)**2*(x - y)**2", "convex", "(x - y)⁴"),
    formula("exp(x)*exp(-x)*y", "affine", "y"),
    formula("log(x*x)", "concave", "2 log x", where="x>0"),
    formula("x**0.5*x**0.5", "affine", "x", where="x>=0"),
    formula("x**3/x", "convex", "x²", where="x>0"),
    formula("erf(x) + erf(-x)", "affine", "constant 0"),
    formula("(1 + tanh(x/2))/2 - sigmoid(x)", "affine", "constant 0"),
    formula("atan(x) + atan(1/x)", "affine", "constant pi/2", where="x>0"),
    formula("logsumexp(x, x)", "affine", "x + log 2"),
    formula("max(x, y) + min(x, y)", "affine", "x + y"),
    formula("max(x, y) - min(x, y)", "convex", "|x - y|"),
    formula("clamp(x, -1, 1)*x", "nonconvex", "x² inside, |x| outside: the slope falls from 2 to 1"),
    formula("huber(x, 1) - x**2/2", "concave", "0 inside, -(|x| - 1)²/2 outside"),
    formula("x**2*sigmoid(1000*x)", "nonconvex", "just below 0 the second derivative is negative"),
    formula("log(1 + exp(x)) - x/2", "convex", "softplus minus linear"),
    formula("softplus(x)**2", "convex", "square of a nonnegative convex function"),
    formula(
        "softplus(x)*sigmoid(x)",
        "nonconvex",
        "s(1 - s)(2 s + (1 - 2 s) p + s) with p = softplus: at x = 4 about -0.02",
        quasiconvex=True,
    ),
]
