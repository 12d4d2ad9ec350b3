"""Channel shuffles: each class of channels that the wiring does not tell apart is found, and no other."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import permutations, product

import pytest
import torch
from torch import nn

import epigraph
from symmetry.models import objective


def shuffle(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class Halves(nn.Module):
    """Units of ShuffleNet v2: one half of the channels passes, the other is transformed, both are shuffled."""

    def __init__(self, channels, units):
        super().__init__()
        self.enter, self.leave = nn.Conv2d(2, channels, 1, bias=False), nn.Conv2d(channels, 2, 1)
        half = channels // 2
        self.units = nn.ModuleList(nn.Conv2d(half, half, 1, bias=False) for _ in range(units))

    def forward(self, x):
        x = self.enter(x).relu()
        for unit in self.units:
            a, b = x.chunk(2, 1)
            x = shuffle(torch.cat([a, unit(b).relu()], 1), 2)
        return self.leave(x).flatten(1)


class Grouped(nn.Module):
    """Units of ShuffleNet v1: a grouped convolution, a shuffle, a depthwise and another grouped convolution, a residual."""

    def __init__(self, channels, inner, groups):
        super().__init__()
        self.groups = groups
        self.enter, self.leave = nn.Conv2d(2, channels, 1, bias=False), nn.Conv2d(channels, 2, 1)
        self.first = nn.Conv2d(channels, inner, 1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(inner)
        self.depth = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.last = nn.Conv2d(inner, channels, 1, groups=groups, bias=False)

    def forward(self, x):
        x = self.enter(x).relu()
        inner = shuffle(self.norm(self.first(x)).relu(), self.groups)
        return self.leave((x + self.last(self.depth(inner))).relu()).flatten(1)


class Wires:
    """Channels as numbers, with the convolution (and group) that makes each and those that read it."""

    def __init__(self):
        self.maker, self.readers = [], defaultdict(set)

    def made(self, by, count, groups=1):
        first = len(self.maker)
        self.maker += [(by, i * groups // count) for i in range(count)]
        return list(range(first, first + count))

    def read(self, channels, by, groups=1):
        for i, c in enumerate(channels):
            self.readers[c].add((by, i * groups // len(channels)))

    def classes(self):
        """Sizes of the classes of more than one channel."""
        sizes = Counter((m, frozenset(self.readers[c])) for c, m in enumerate(self.maker)).values()
        return sorted(n for n in sizes if n > 1)


def shuffled(channels, groups):
    each = len(channels) // groups
    return [channels[a * each + b] for b in range(each) for a in range(groups)]


def halves(channels, units):
    wires = Wires()
    x = wires.made("enter", channels)
    for u in range(units):
        a, b = x[: channels // 2], x[channels // 2 :]
        wires.read(b, u)
        x = shuffled([*a, *wires.made(u, channels // 2)], 2)
    wires.read(x, "leave")
    return wires.classes()


def grouped(channels, inner, groups):
    wires = Wires()
    wires.read(wires.made("enter", channels), "first", groups)
    wires.read(shuffled(wires.made("first", inner, groups), groups), "last", groups)
    return wires.classes()


def sizes(found):
    group = found.group
    return sorted(group.sets[p.set].size for p in group.permutations for _ in range(group.copies(p.set)))


@pytest.mark.parametrize("channels, units", [(8, 1), (8, 2), (8, 3), (16, 3), (12, 2), (20, 2)])
def test_halves(channels, units):
    """With 8 channels and 3 units the halves are cut across what has been shuffled before."""
    torch.manual_seed(0)
    found = epigraph.symmetries(objective(Halves(channels, units), (2, 2, 2, 2), (2, 8)))
    assert sizes(found) == halves(channels, units)
    assert not found.verification.dropped


@pytest.mark.parametrize("channels, inner, groups", [(8, 8, 2), (6, 6, 2), (12, 6, 3), (24, 12, 3)])
def test_groups(channels, inner, groups):
    """6 = 3 * 2 channels in two groups: the groups behind the shuffle cut across those before it."""
    torch.manual_seed(0)
    found = epigraph.symmetries(objective(Grouped(channels, inner, groups).eval(), (2, 2, 3, 3), (2, 18)))
    assert sizes(found) == grouped(channels, inner, groups)
    assert not found.verification.dropped


def test_every_permutation_of_a_small_net_by_enumeration():
    torch.manual_seed(0)
    J = objective(Halves(4, 1), (2, 2, 2, 2), (2, 8))
    found = epigraph.symmetries(J)
    point = {k: torch.randn(v.shape, dtype=torch.float64) for k, v in found.values.items()}
    value = J.value(point, double=True)
    axes = [("enter.weight", 0), ("units.0.weight", 0), ("units.0.weight", 1), ("leave.weight", 1)]
    kept = 0
    for images in product(*(permutations(range(point[n].shape[d])) for n, d in axes)):
        moved = dict(point)
        for (name, dim), image in zip(axes, images, strict=True):
            moved[name] = moved[name].index_select(dim, torch.tensor(image))
        kept += abs(J.value(moved, double=True) - value) <= 1e-12 * value
    assert kept == math.prod(map(math.factorial, sizes(found))) == 8


def test_each_channel_is_rescaled():
    torch.manual_seed(0)
    found = epigraph.symmetries(objective(Halves(8, 3), (2, 2, 2, 2), (2, 8)))
    assert found.dimension == 8 + 3 * 4
