"""Networks of the sizes for which the verifier has speed bars, as hand-built graphs, each with a move of its head.

Every model returns the builder and a displacement d of the head: with head weights 0 at m, and a = m + d, b = m - d,
the loss at m is above the mean of the two for a direction that mixes the head with what feeds it.
"""

from __future__ import annotations

import itertools

import numpy as np
from certificate_builder import Builder, steps

from epigraph.certificate.points import Delta

Model = tuple[Builder, dict[str, Delta]]


def _cross_entropy(b: Builder, logits: int, labels: np.ndarray) -> int:
    n, classes = b.shape(logits)
    chosen = b.data("onehot", np.eye(classes, dtype=np.float32)[labels])
    picked = b("sum", b("mul", b("log_softmax", logits, dim=1), chosen), dims=[0, 1])
    return b("mul", b("neg", picked), b.scalar(f"1/{n}"))


def network(
    sizes: tuple[int, ...], n: int, seed: int = 0, activation: str = "tanh", loss: str = "cross_entropy"
) -> Model:
    """A multilayer perceptron; the certificate flips the signs of one hidden unit (m has both sides at zero)."""
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.data("x", rng.standard_normal((n, sizes[0])).astype(np.float32))
    for i, (inner, outer) in enumerate(itertools.pairwise(sizes)):
        weight = (rng.standard_normal((outer, inner)) / inner**0.5).astype(np.float32)
        if i == len(sizes) - 2:
            weight[:] = 0
        w, c = b.parameter(f"w{i}", weight), b.parameter(f"b{i}", np.zeros(outer, dtype=np.float32))
        x = b.linear(x, w, c)
        if i < len(sizes) - 2:
            x = b(activation, x)
    last = len(sizes) - 2
    if loss == "cross_entropy":
        out = _cross_entropy(b, x, rng.integers(0, sizes[-1], n))
    else:
        error = b.sub(x, b.data("y", rng.standard_normal((n, sizes[-1])).astype(np.float32)))
        out = b.mean(b("mul", error, error), [0, 1])
    assert out == len(b.nodes) - 1
    return b, _product_direction(b, f"w{last}", f"b{last - 1}")


def encoder(
    layers: int = 12, batch: int = 4, length: int = 10, width: int = 64, heads: int = 4, inner: int = 128
) -> Model:
    """Post-norm transformer encoder layers, mean over positions, a linear head with zero weights, cross-entropy."""
    rng = np.random.default_rng(1)
    b = Builder()

    def weights(name: str, *shape: int) -> int:
        return b.parameter(name, (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32))

    def vector(name: str, size: int, value: float = 0.0) -> int:
        return b.parameter(name, np.full(size, value, dtype=np.float32))

    def norm(name: str, x: int) -> int:
        centred = b.sub(x, b("reshape", b.mean(x, [2]), shape=[batch, length, 1]))
        variance = b("reshape", b.mean(b("mul", centred, centred), [2]), shape=[batch, length, 1])
        scaled = b("div", centred, b("sqrt", b("add", variance, b.scalar("1/100000"))))
        return b("add", b("mul", scaled, vector(f"{name}.weight", width, 1.0)), vector(f"{name}.bias", width))

    def split(x: int) -> int:
        return b("permute", b("reshape", x, shape=[batch, length, heads, width // heads]), dims=[0, 2, 1, 3])

    x = b.data("x", rng.standard_normal((batch, length, width)).astype(np.float32))
    for i in range(layers):
        q, k, v = (split(b.linear(x, weights(f"{i}.{n}", width, width), vector(f"{i}.{n}.bias", width))) for n in "qkv")
        scores = b("mul", b("matmul", q, b("permute", k, dims=[0, 1, 3, 2])), b.scalar("1/4"))
        mixed = b("matmul", b("exp", b("log_softmax", scores, dim=3)), v)
        joined = b("reshape", b("permute", mixed, dims=[0, 2, 1, 3]), shape=[batch, length, width])
        attended = b.linear(joined, weights(f"{i}.o", width, width), vector(f"{i}.o.bias", width))
        x = norm(f"{i}.norm1", b("add", x, attended))
        hidden = b("relu", b.linear(x, weights(f"{i}.up", inner, width), vector(f"{i}.up.bias", inner)))
        x = norm(
            f"{i}.norm2",
            b("add", x, b.linear(hidden, weights(f"{i}.down", width, inner), vector(f"{i}.down.bias", width))),
        )
    pooled = b.mean(x, [1])
    logits = b.linear(pooled, b.parameter("head", np.zeros((10, width), dtype=np.float32)), vector("head.bias", 10))
    _cross_entropy(b, logits, rng.integers(0, 10, batch))
    return b, _product_direction(b, "head", f"{layers - 1}.norm2.bias")


def resnet18(images: int = 4, size: int = 64, channels: int = 64) -> Model:
    """ResNet-18 in evaluation mode with random weights and zero head weights, cross-entropy on 10 classes."""
    rng = np.random.default_rng(2)
    b = Builder()
    count = 0

    def convolve(x: int, outer: int, kernel: int, stride: int) -> int:
        nonlocal count
        count += 1
        inner = b.shape(x)[1]
        scale = (2.0 / (outer * kernel * kernel)) ** 0.5
        w = b.parameter(
            f"conv{count}", (scale * rng.standard_normal((outer, inner, kernel, kernel))).astype(np.float32)
        )
        pad = [kernel // 2] * 2
        return b("convolution", x, w, stride=[stride] * 2, padding=pad, dilation=[1, 1], groups=1)

    def batch_norm(x: int) -> int:
        outer = b.shape(x)[1]
        name = f"bn{count}"
        weight = b.parameter(f"{name}.weight", np.ones(outer, dtype=np.float32))
        bias = b.parameter(f"{name}.bias", np.zeros(outer, dtype=np.float32))
        mean = b.data(f"{name}.mean", (0.1 * rng.standard_normal(outer)).astype(np.float32), "buffer")
        variance = b.data(f"{name}.var", rng.uniform(0.5, 1.5, outer).astype(np.float32), "buffer")
        deviation = b("sqrt", b("add", variance, b.scalar("1/100000")))
        column = [1, outer, 1, 1]
        centred = b.sub(x, b("reshape", mean, shape=column))
        scaled = b("mul", centred, b("reshape", b("div", weight, deviation), shape=column))
        return b("add", scaled, b("reshape", bias, shape=column))

    def block(x: int, outer: int, stride: int) -> int:
        out = batch_norm(convolve(b("relu", batch_norm(convolve(x, outer, 3, stride))), outer, 3, 1))
        if stride > 1:
            x = batch_norm(convolve(x, outer, 1, stride))
        return b("relu", b("add", out, x))

    def pool(x: int) -> int:
        n, c, h, w = b.shape(x)
        zero = b.scalar(0)
        wide = b("concat", b("expand", zero, shape=[n, c, 1, w]), x, b("expand", zero, shape=[n, c, 1, w]), dim=2)
        side = b("expand", zero, shape=[n, c, h + 2, 1])
        wide = b("concat", side, wide, side, dim=3)
        found = -1
        for i in range(3):
            rows = b("slice", wide, dim=2, start=i, stop=h + i, step=2)
            for j in range(3):
                part = b("slice", rows, dim=3, start=j, stop=w + j, step=2)
                found = part if found < 0 else b("maximum", found, part)
        return found

    x = b.data("x", rng.standard_normal((images, 3, size, size)).astype(np.float32))
    x = pool(b("relu", batch_norm(convolve(x, channels, 7, 2))))
    for stage in range(4):
        for i in range(2):
            x = block(x, channels * 2**stage, 2 if stage and not i else 1)
    last = f"bn{count}.bias" if count else ""
    features = b.mean(x, [2, 3])
    head = b.parameter("fc.weight", np.zeros((10, b.shape(features)[1]), dtype=np.float32))
    logits = b.linear(features, head, b.parameter("fc.bias", np.zeros(10, dtype=np.float32)))
    _cross_entropy(b, logits, rng.integers(0, 10, images))
    return b, _product_direction(b, "fc.weight", last)


def _product_direction(b: Builder, head: str, bias: str) -> dict[str, Delta]:
    """Signs of the mixed second derivative of J in (head weights, bias) at head = 0, by float64 differences."""
    import torch

    w, c = (torch.tensor(b.tensors[k].array, dtype=torch.float64, requires_grad=True) for k in (head, bias))
    loss = b.values({head: w, bias: c})[-1]
    (gradient,) = torch.autograd.grad(loss, w, create_graph=True)
    direction = torch.randn(w.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (mixed,) = torch.autograd.grad((gradient * direction).sum(), c)
    unit_w, unit_c = (np.round(64 * (v / v.abs().max()).numpy()) for v in (direction, -mixed))
    best, found = 0.0, {}
    for scale_w in (-4, -8, -12):
        for scale_c in (1, -2, -5):
            delta = {head: steps(unit_w, scale_w - 6), bias: steps(unit_c, scale_c - 6)}
            with torch.no_grad():
                ends = [
                    b.value({k: torch.tensor(b.tensors[k].array + sign * d.floats()) for k, d in delta.items()})
                    for sign in (1, -1)
                ]
            gap = float(loss.detach()) - sum(ends) / 2
            if gap > best:
                best, found = gap, delta
    assert found, "no direction of negative curvature"
    return found
