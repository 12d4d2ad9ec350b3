"""The disconnectivity graph against minimax paths and closed forms, the pictures' numbers, and the page."""

from __future__ import annotations

import random
from html.parser import HTMLParser

import networkx
import pytest
import torch
from landscapes import neuron, roots, scalar_product, separable, tilted_wells, xor
from scipy.stats import binomtest

import epigraph
from epigraph.critical.disconnectivity import forest, level
from epigraph.critical.frequency import Frequency, frequencies
from epigraph.errors import UsageError
from epigraph.plot import figures, indices, shares, tree
from epigraph.report.landscape import page
from epigraph.report.words import Record


@pytest.fixture(scope="module")
def of_xor():
    return epigraph.minima(xor(2), 80, transitions=True)


# the graph -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(20))
def test_levels_are_minimax_paths(seed):
    """Against Floyd and Warshall's algorithm with (min, max) on random multigraphs, loops and ties among them."""
    rng = random.Random(seed)
    n = rng.randint(1, 9)
    net = networkx.MultiGraph()
    net.add_nodes_from((i, {"value": rng.random()}) for i in range(n))
    for _ in range(rng.randint(0, 14)):
        net.add_edge(rng.randrange(n), rng.randrange(n), value=rng.choice([1.0, 1.25, 1.5, 1 + rng.random()]))
    best = [[float("inf")] * n for _ in range(n)]
    for a, b, value in net.edges(data="value"):
        best[a][b] = best[b][a] = min(best[a][b], value)
    for k in range(n):
        for i in range(n):
            for j in range(n):
                best[i][j] = min(best[i][j], max(best[i][k], best[k][j]))
    trees = forest(net)
    home = {leaf.node: t for t, root in enumerate(trees) for leaf in root.leaves}
    assert sorted(home) == list(range(n))
    for i in range(n):
        for j in range(i):
            joined = home[i] == home[j]
            assert joined == (best[i][j] < float("inf"))
            assert not joined or level(trees[home[i]], i, j) == best[i][j]


def flat(basin):
    """Levels from the top, with the values of the minima."""
    return round(basin.value, 8) if not basin.parts else (round(basin.value, 8), *map(flat, basin.parts))


def test_xor(of_xor):
    (root,) = of_xor.disconnectivity()
    assert flat(root) == (0.55362584, (0.5184876, 0.48024414, 0.51219512), 0.52266523)


def test_xor_with_copies(of_xor):
    """All eight copies of the lowest minimum meet at the level at which they meet the zero network."""
    (root,) = of_xor.disconnectivity(copies=True)
    assert flat(root) == (0.55362584, (0.5184876, *[0.48024414] * 8, 0.51219512), *[0.52266523] * 8)
    net = of_xor.graph(copies=True)
    assert (len(net), net.number_of_edges()) == (17, 16)  # a tree: as many saddles as the Morse identity asks for


@pytest.mark.parametrize("decay", [0.1, 0.4])
def test_two_copies_meet_at_the_origin(decay):
    found = epigraph.minima(scalar_product(decay), 40, transitions=True)
    assert found.disconnectivity()[0].parts == () and found.graph().number_of_edges() == 1
    (root,) = found.disconnectivity(copies=True)
    assert flat(root) == (0.5, *[round(decay - decay**2 / 2, 8)] * 2)


def test_a_cube():
    """One logistic unit: 2^d minima whose levels follow from one variable: a barrier in one coordinate at a time."""
    found = epigraph.minima(neuron((1.0, 100.0), 2), 200, transitions=True)
    low, high, top = 0.0611233286621, 0.0625, 0.116497860594
    (root,) = found.disconnectivity()
    assert flat(root) == (
        round(high + top, 8), (round(low + top, 8), *(round(v, 8) for v in (2 * low, low + high, low + high))), round(2 * high, 8)
    )  # fmt: skip


def test_nothing_joins_what_no_transition_joins(of_xor):
    alone = epigraph.minima(xor(2), 60, saddles=False)
    assert [b.parts for b in alone.disconnectivity()] == [()] * len(alone.minima)
    assert epigraph.minima(separable(), 10).disconnectivity() == ()
    with pytest.raises(UsageError, match="E075"):  # the generators are not there
        alone.graph(copies=True)


# shares --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("times", "of"), [(0, 10), (1, 10), (5, 10), (10, 10), (37, 1000), (1, 1)])
def test_intervals(times, of):
    expected = binomtest(times, of).proportion_ci(0.95, method="wilson")
    found = Frequency(0, times, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_shares_of_wells():
    """Of N(0, s) the mass on either side of the barrier: s is 0.5, 1.5 and 3 in equal parts."""
    found = epigraph.minima(tilted_wells(0.2, 1), 1200, saddles=False)
    middle = roots(0.2)[1]
    left = sum(torch.distributions.Normal(0.0, s).cdf(torch.tensor(middle)).item() for s in (0.5, 1.5, 3.0)) / 3
    lower, upper = frequencies(found)
    assert lower.times + upper.times == lower.of == upper.of
    assert abs(lower.share - left) < 4 * (left * (1 - left) / lower.of) ** 0.5 + 0.05  # a Newton step may cross


# pictures ------------------------------------------------------------------------------------------------------
def test_the_tree_that_is_drawn(of_xor):
    drawn = tree.info(of_xor)
    values = [round(p.value, 9) for p in of_xor.minima]
    feet = sorted(round(line.start[1], 9) for line in drawn.lines if line.start[0] == line.stop[0])
    assert drawn.count == 3 and drawn.trees == 1 and [n for _, _, n in drawn.names] == ["1", "2", "4"]
    assert sorted(values) == [v for v in feet if v in values]
    assert all(drawn.low < y < drawn.high for line in drawn.lines for _, y in (line.start, line.stop))
    assert tree.info(of_xor, copies=True).count == 17
    assert tree.info(epigraph.minima(separable(), 5)) is None


def test_loops_and_open_ends_are_drawn():
    single = tree.info(epigraph.minima(scalar_product(0.1), 30, transitions=True))
    assert single.loops == ((0.5, 0.5),) and single.high > 0.5
    apart = tree.info(epigraph.minima(xor(2), 60, saddles=False))
    assert apart.trees == apart.count and sum(line.open for line in apart.lines) == apart.count


def test_pictures_are_well_formed(of_xor):
    from xml.etree import ElementTree

    for plot in (tree, indices, shares):
        for shape in (plot.WIDE, plot.NARROW):
            root = ElementTree.fromstring(plot.draw(plot.info(of_xor), "x", shape))
            box = [float(v) for v in root.attrib["viewBox"].split()]
            assert all(0 <= float(e.attrib["cx"]) <= box[2] for e in root.iter() if "cx" in e.attrib)


class Texts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_page(of_xor):
    seen = Texts()
    seen.feed(page(of_xor, Record(target="<script>x", arguments="zoo:xor --starts 120 --transitions")))
    assert "script" not in seen.tags and seen.tags.count("svg") == 8 and "<script>x" in seen.text
    assert "Transition states found: 2; all minima are joined." in seen.text
    assert "epigraph minima zoo:xor --starts 120 --transitions" in seen.text
    for p in of_xor.points:
        assert f"{p.value:.10g}" in seen.text
    nothing = page(epigraph.minima(separable(), 5), Record())
    assert "No point was found" in nothing and "<figure" not in nothing


def test_matplotlib(of_xor, tmp_path):
    pytest.importorskip("matplotlib")
    drawn = figures.disconnectivity(of_xor)
    (axes,) = drawn.axes
    assert len(axes.lines) == len(tree.info(of_xor).lines)
    for name, figure in (
        ("tree", figures.disconnectivity(of_xor, True)),
        ("index", figures.index_against_value(of_xor)),
    ):
        figure.savefig(tmp_path / f"{name}.png")
    assert len(figures.basin_shares(of_xor).axes[0].get_yticks()) == 3
    with pytest.raises(UsageError, match="E077"):
        figures.index_against_value(epigraph.minima(separable(), 5))
