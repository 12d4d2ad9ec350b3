"""The pictures of a catalogue as matplotlib figures, from the same numbers as the page's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from epigraph.errors import UsageError
from epigraph.plot import indices, shares, tree

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue

DARK, BLUE, RED, GREY = "#1d1c1a", "#2b5a86", "#a3231b", "#d6d0c4"


def disconnectivity(found: Catalogue, copies: bool = False) -> Any:
    """The disconnectivity graph as a matplotlib figure.

    Raises:
        UsageError: no matplotlib, no minimum, or copies that are not known one by one.
    """
    drawn = _something(tree.info(found, copies))
    figure, axes = _axes(7.2, 4.2)
    for line in drawn.lines:
        x, y = zip(line.start, line.stop, strict=True)
        axes.plot(x, y, color=BLUE if line.open else DARK, linestyle="--" if line.open else "-", linewidth=1.3)
    if drawn.loops:
        axes.scatter(*zip(*drawn.loops, strict=True), facecolors="white", edgecolors=RED, zorder=3)
    for x, y, name in drawn.names:
        axes.annotate(name, (x, y), (0, -4), textcoords="offset points", ha="center", va="top", fontsize=8)
    axes.set(xlim=(0, drawn.count), ylim=(drawn.low, drawn.high), xticks=[], ylabel="J")
    axes.spines["bottom"].set_visible(False)
    return figure


def index_against_value(found: Catalogue) -> Any:
    """The index of each point against its value as a matplotlib figure.

    Raises:
        UsageError: no matplotlib, or no point.
    """
    drawn = _something(indices.info(found))
    figure, axes = _axes(7.2, 3.2)
    for value, index, decided in drawn.points:
        color = (DARK if index else BLUE) if decided else RED
        axes.plot(value, index, "o", color=color, markerfacecolor=color if decided else "white", markersize=5)
    axes.set(ylim=(-0.5, drawn.top + 0.5), xlabel="J", ylabel="index", yticks=_whole(drawn.top))
    axes.grid(axis="y", color=GREY, linewidth=0.6)
    return figure


def basin_shares(found: Catalogue) -> Any:
    """The shares of normal starts that led to each minimum, with 95 % intervals, as a matplotlib figure.

    Raises:
        UsageError: no matplotlib, or no start that was counted.
    """
    drawn = _something(shares.info(found))
    figure, axes = _axes(7.2, 1.2 + 0.3 * len(drawn.rows))
    for k, row in enumerate(drawn.rows):
        axes.plot([row.share.low, row.share.high], [k, k], color=BLUE, linewidth=1.6)
        axes.plot(row.share.share, k, "o", color=BLUE, markersize=5)
    names = [f"{r.name}: J = {r.value:.6g}" for r in drawn.rows]
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel=f"share of {drawn.of} starts", xlim=(0, None))
    axes.invert_yaxis()
    return figure


def _whole(top: int) -> list[int]:
    return list(range(0, top + 1, max(1, -(-top // 8))))


def _something(drawn: Any) -> Any:
    if drawn is None:
        raise UsageError("E077", "there is nothing to draw", hint="a search with transitions, and more starts")
    return drawn


def _axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure of its own, which no global state knows of, with two of four borders."""
    try:
        figure = import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    except ImportError:
        raise UsageError("E076", "figures need matplotlib", hint="pip install 'epigraph[plots]'") from None
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
