"""The picture is measured: its pixels, read back through its own axis, give the certificate's numbers."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from test_surface_numbers import value_of

from epigraph.plot.placing import Box, Label, choose
from epigraph.plot.segment import segment
from epigraph.plot.svg import NARROW, WIDE, draw

SVG = "{http://www.w3.org/2000/svg}"
CASES = {
    "arch": ("convex", lambda s: 1.0 - 0.4 * s * s + 0.3 * s),
    "bowl": ("concave", lambda s: 1.0 + 0.5 * s * s - 0.2 * s),
    "hill": ("quasiconvex", lambda s: math.exp(-4 * s * s) + 0.2 * s),
    "pit": ("quasiconcave", lambda s: 3 - math.exp(-4 * s * s)),
    "huge": ("convex", lambda s: 1e9 * (2 - s * s)),
    "minute": ("convex", lambda s: 1e-9 * (2 - s * s)),
    "negative": ("convex", lambda s: -100 - s * s),
}


class Drawing:
    """An SVG read back: elements by class, and heights in data units through the axis that holds them."""

    def __init__(self, text: str):
        self.root = ET.fromstring(text)

    def find(self, css: str) -> list[ET.Element]:
        return [e for e in self.root.iter() if css in e.get("class", "").split()]

    def texts(self) -> list[str]:
        return [e.text or "" for e in self.root.iter(f"{SVG}text")]

    def axis(self, panel: int = 0) -> tuple[float, float]:
        """Slope and offset of data against pixels, from the first and last tick of a panel."""
        labels = self.find("epi-tick")
        heights = [float(e.get("y", "nan")) for e in labels]
        starts = [0, *(i for i in range(1, len(labels)) if heights[i] > heights[i - 1]), len(labels)]
        chosen = labels[starts[panel] : starts[panel + 1]]
        (y0, v0), (y1, v1) = ((float(e.get("y")), float(value_of(e.text or ""))) for e in (chosen[0], chosen[-1]))
        slope = (v1 - v0) / (y1 - y0)
        shift = 0.35 * float(self.root.get("font-size", "nan"))
        return slope, v0 - slope * (y0 - shift)

    def height(self, pixel: float, panel: int = 0) -> float:
        slope, offset = self.axis(panel)
        return slope * pixel + offset


@pytest.mark.parametrize("shape", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("case", CASES)
def test_points_and_gap_are_where_the_axis_says(made, case: str, shape) -> None:
    kind, J = CASES[case]
    certificate = made.certificate(kind, J)
    picture = Drawing(draw(segment(certificate), "x", shape))
    low, high = min(map(J, (-1, 0, 1))), max(map(J, (-1, 0, 1)))
    close = 0.01 * (high - low)
    dots = [picture.height(float(e.get("cy", "nan"))) for e in picture.find("epi-dot")]
    assert dots == [pytest.approx(certificate.values[name], abs=close) for name in ("a", "m", "b")]
    gap = max((abs(float(e.get("y1")) - float(e.get("y2"))) for e in picture.find("epi-gap")), default=0.0)
    assert abs(picture.axis()[0]) * gap == pytest.approx(float(certificate.gap), abs=close)
    assert f"gap ≥ {float(certificate.gap):.4g}"[:6] == next(t for t in picture.texts() if "gap" in t)[:6]


def test_curve_passes_through_the_three_points(made) -> None:
    picture = Drawing(draw(segment(made.certificate()), "x"))
    (curve,) = picture.find("epi-curve")
    drawn = {p for p in curve.get("points", "").split()}
    dots = {f"{e.get('cx')},{e.get('cy')}" for e in picture.find("epi-dot")}
    assert len(dots) == 3
    assert dots <= drawn


def test_a_curve_that_misses_the_points_is_not_drawn(made) -> None:
    certificate = made.certificate()
    mirrored = replace(certificate, profile=tuple((-s, y) for s, y in certificate.profile))
    assert segment(mirrored).panel.curves == ()
    assert len(Drawing(draw(segment(mirrored), "x")).find("epi-dot")) == 3


def test_a_small_gap_is_magnified_in_a_second_panel(made) -> None:
    certificate = made.certificate(J=lambda s: 2 + s + 0.003 * (1 - s * s))
    info = segment(certificate)
    assert info.magnified is not None
    assert not info.hidden
    assert info.magnified.share > 0.5
    picture = Drawing(draw(info, "x"))
    lower = max(picture.find("epi-dot-m"), key=lambda e: float(e.get("cy", "nan")))
    assert picture.height(float(lower.get("cy", "nan")), panel=1) == pytest.approx(0.003, rel=0.02)
    assert "J − chord" in picture.texts()


def test_a_gap_below_rounding_is_not_drawn(made) -> None:
    info = segment(made.certificate(J=lambda s: 2 + s, gap="1e-30"))
    assert info.hidden
    assert not [t for t in Drawing(draw(info, "x")).texts() if "gap" in t]


def test_a_far_peak_does_not_hide_a_magnified_gap(made) -> None:
    info = segment(made.certificate(J=lambda s: 1 + 0.001 * (1 - s * s) + 50 * math.exp(-((s - 0.5) ** 2) * 300)))
    assert info.magnified is not None
    assert info.magnified.share > 0.06


def test_values_that_are_not_finite_interrupt_the_curve(made) -> None:
    def J(s: float) -> float:
        return math.nan if 0.2 < s < 0.4 else math.inf if -0.4 < s < -0.3 else 1.0 - s * s

    info = segment(made.certificate(J=J))
    assert len(info.panel.curves) == 3
    assert "nan" not in draw(info, "x")
    assert "inf" not in draw(info, "x")


def test_without_a_profile_the_points_and_the_chord_remain(made) -> None:
    picture = Drawing(draw(segment(made.certificate(samples=0)), "x"))
    assert len(picture.find("epi-dot")) == 3
    assert len(picture.find("epi-chord")) == 1
    assert picture.find("epi-curve") == []


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_no_picture_where_an_end_is_not_finite(made, value: float) -> None:
    certificate = made.certificate()
    certificate.values["b"] = value
    assert segment(certificate) is None


def test_no_picture_where_the_range_overflows(made) -> None:
    assert segment(made.certificate(J=lambda s: 1.7e308 * s, gap="1")) is None


@pytest.mark.parametrize("shape", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("case", CASES)
def test_labels_stay_inside_and_apart(made, case: str, shape) -> None:
    kind, J = CASES[case]
    picture = Drawing(draw(segment(made.certificate(kind, J)), "x", shape))
    _, _, width, height = map(float, picture.root.get("viewBox", "").split())
    boxes: list[Box] = []
    for element in picture.find("epi-label"):
        label = Label(element.text or "", float(element.get("x")), float(element.get("y")), element.get("text-anchor"))
        box = label.box(shape.text)
        assert box.inside(Box(0, 0, width, height)), label
        assert not any(box.overlaps(other) for other in boxes), label
        boxes.append(box)
    assert len(boxes) == 5


def test_choose_avoids_ink() -> None:
    frame = Box(0, 0, 200, 100)
    left, right = Label("text", 20, 50, "start"), Label("text", 120, 50, "start")
    assert choose([left, right], 12, [(30.0, 48.0)], [], frame) is right
    assert choose([left, right], 12, [], [right.box(12)], frame) is left
    assert choose([Label("text", -50, 50, "start"), right], 12, [(125.0, 48.0)], [], frame) is right


def test_picture_is_described(made) -> None:
    root = ET.fromstring(draw(segment(made.certificate()), "pic"))
    ids = {e.get("id"): e for e in root if e.get("id")}
    assert root.get("role") == "img"
    assert [ids[i].tag for i in root.get("aria-labelledby", "").split()] == [f"{SVG}title", f"{SVG}desc"]
    assert ids["pic-d"].text == (
        "J(a) = 0.3, J(m) = 1, J(b) = 0.9. At the midpoint m, J lies above the chord by at least 0.4."
    )
