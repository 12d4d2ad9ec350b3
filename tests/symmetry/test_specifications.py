"""The groups that are found against hand-written specifications: which axes of which tensors share a permutation.

The specifications follow the naming scheme of Ainsworth, Hayase and Srinivasa 2023: each tensor with one name per axis,
None where nothing moves, for the layout of PyTorch (outputs first).
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import epigraph

Names = dict[str, tuple[str | None, ...]]


def dense(name: str, inner: str | None, outer: str | None) -> Names:
    return {f"{name}.weight": (outer, inner), f"{name}.bias": (outer,)}


def conv(name: str, inner: str | None, outer: str | None) -> Names:
    return {f"{name}.weight": (outer, inner, None, None)}


def norm(name: str, p: str) -> Names:
    return {f"{name}.{part}": (p,) for part in ("weight", "bias", "running_mean", "running_var")}


def mlp_specification(hidden: int) -> Names:
    names = [None, *(f"P_{i}" for i in range(hidden)), None]
    return {k: v for i, (a, b) in enumerate(pairwise(names)) for k, v in dense(f"layers.{i}", a, b).items()}


def vgg16_specification() -> Names:
    names = [None, *(f"P_Conv_{i}" for i in range(13))]
    out: Names = {}
    for i, (a, b) in enumerate(pairwise(names)):
        assert b is not None
        out |= {**conv(f"convs.{i}", a, b), f"convs.{i}.bias": (b,)}
        out |= {f"norms.{i}.{part}": (b,) for part in ("weight", "bias")}
    for i, (a, b) in enumerate(pairwise(["P_Conv_12", "P_Dense_0", "P_Dense_1", None])):
        out |= dense(f"head.{i}", a, b)
    return out


def resnet20_specification() -> Names:
    out = {**conv("enter", None, "P_bg0"), **norm("norm", "P_bg0")}
    for g in range(3):
        for b in range(3):
            name, p, before = f"groups.{g}.{b}", f"P_bg{g}", f"P_bg{g - 1}" if g and not b else f"P_bg{g}"
            out |= {**conv(f"{name}.conv1", before, f"P_{name}_inner"), **norm(f"{name}.norm1", f"P_{name}_inner")}
            out |= {**conv(f"{name}.conv2", f"P_{name}_inner", p), **norm(f"{name}.norm2", p)}
            if before != p:
                out |= {**conv(f"{name}.shortcut.0", before, p), **norm(f"{name}.shortcut.1", p)}
    return {**out, **dense("leave", "P_bg2", None)}


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((5, 4, 4, 4, 3)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


class VGG(nn.Module):
    """Thirteen convolutions in five stages, each with a layer norm over channels, then three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5, 5]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(n) for n in widths[1:])
        self.head = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((5, 6, 6, 3)))

    def forward(self, x: Tensor) -> Tensor:
        for i, (layer, scale) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = scale(layer(x).movedim(1, -1)).relu().movedim(-1, 1)
            x = F.max_pool2d(x, 2) if i in (1, 3, 6, 9, 12) else x
        x = x.flatten(1)
        return self.head[2](self.head[1](self.head[0](x).relu()).relu())


class Block(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inner, outer, 3, outer // inner, 1, bias=False), nn.BatchNorm2d(outer)
        self.conv2, self.norm2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        self.shortcut = nn.Identity()
        if inner != outer:
            self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 3, 2, 1, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm = nn.Conv2d(3, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        widths = [[2, 2, 2, 2], [2, 4, 4, 4], [4, 8, 8, 8]]
        self.groups = nn.ModuleList(nn.Sequential(*(Block(a, b) for a, b in pairwise(w))) for w in widths)
        self.leave = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.enter(x)).relu()
        for group in self.groups:
            x = group(x)
        return self.leave(x.mean((2, 3)))


CASES = {
    "mlp": (Perceptron, (2, 5), mlp_specification(3), 3),
    "vgg16": (VGG, (1, 3, 32, 32), vgg16_specification(), 15),
    "resnet20": (ResNet20, (2, 3, 8, 8), resnet20_specification(), 12),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_groups_are_those_of_the_specification(name):
    torch.manual_seed(0)
    make, shape, specification, count = CASES[name]
    J = epigraph.Objective(make(), nn.CrossEntropyLoss(), torch.randn(shape), torch.randint(0, 3, shape[:1]))
    found = epigraph.symmetries(J)
    written: dict[str, set[tuple[str, int]]] = {}
    for tensor, axes in specification.items():
        for axis, p in enumerate(axes):
            if p is not None:
                written.setdefault(p, set()).add((tensor, axis))
    seen = []
    for permutation in found.permutations:
        places = found.group.places(permutation)
        assert found.group.copies(permutation.set) == 1
        assert all((place["first"], place["step"]) == (0, 1) for place in places)
        seen.append(frozenset((place["tensor"], place["axis"]) for place in places))
    state = J.model.state_dict()
    assert set(specification) == {k for k in state if not k.endswith("num_batches_tracked")}
    assert all(len(axes) == state[k].ndim for k, axes in specification.items())
    assert (len(seen), set(seen)) == (count, {frozenset(v) for v in written.values()})
    assert found.verification.error <= 1e-12
