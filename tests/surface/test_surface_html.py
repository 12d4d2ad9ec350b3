"""The page: well-formed, self-contained, escaped, legible, and small even for large verdicts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise

import pytest

from epigraph.report.html import fragment, mathematical, page
from epigraph.report.words import Record

VOID = {"meta", "link", "br", "hr", "img", "input"}
ALLOWED = {
    "html",
    "head",
    "body",
    "meta",
    "link",
    "title",
    "style",
    "main",
    "section",
    "header",
    "footer",
    "div",
    "p",
    "span",
    "b",
    "h1",
    "h2",
    "h3",
    "h4",
    "var",
    "sup",
    "a",
    "ul",
    "ol",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "figure",
    "figcaption",
    "details",
    "summary",
    "pre",
    "mark",
    "svg",
    "desc",
    "text",
    "line",
    "polyline",
    "circle",
}


class Reader(HTMLParser):
    """Checks nesting while it reads; keeps elements, ids, links and the visible text."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack, tag
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if not self.stack or self.stack[-1] != "style":
            self.text += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


CASES = ("digits", "proved", "hostile", "large", "verdict")


@pytest.mark.parametrize("render", [page, fragment])
@pytest.mark.parametrize("case", CASES)
def test_well_formed_without_scripts_and_with_unique_ids(made, case: str, render) -> None:
    read = Reader(render(getattr(made, case)()))
    assert read.tags <= ALLOWED
    for tag, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for tag, a in read.elements if tag == "a"]
    assert all(href.startswith("#") and href[1:] in ids for href in links)


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_requested(made, case: str) -> None:
    text = page(getattr(made, case)())
    policy = next(a["content"] for tag, a in Reader(text).elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert set(re.findall(r"https?://[^\"' <]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in text
    assert "url(" not in text
    sources = [a for _, a in Reader(text).elements if {"src", "srcset", "data", "action"} & a.keys()]
    assert sources == []


def test_what_users_write_is_shown_as_they_wrote_it(made) -> None:
    read = Reader(page(made.hostile()))
    visible = made.HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert read.text.count(visible) > 15
    assert "49" not in read.text.replace("\\x1b", "")
    assert not [a for _, a in read.elements if "onload" in a]


def test_the_same_in_a_notebook(made) -> None:
    verdict = made.digits()
    assert verdict._repr_html_() == fragment(verdict)
    read = Reader(fragment(verdict))
    assert read.elements[0][0] == "section"
    assert "h1" not in read.tags
    whole = Reader(page(verdict))
    assert [tag for tag, _ in whole.elements].count("h1") == 1
    headings = [int(tag[1]) for tag, _ in whole.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(later <= earlier + 1 for earlier, later in pairwise(headings))


def test_style_touches_nothing_but_the_verdict() -> None:
    css = resources.files("epigraph.report").joinpath("templates/style.css").read_text()
    selectors = re.findall(r"([^{}]+)\{", re.sub(r"/\*.*?\*/", "", css, flags=re.S))
    for selector in selectors:
        if not selector.strip().startswith("@"):
            assert all(part.strip().startswith(".epi.epi") for part in re.split(r",(?![^(]*\))", selector)), selector


def test_first_things_first(made) -> None:
    shown = Reader(page(made.digits())).words
    landmarks = [
        "nonconvex",
        "J(fc1.weight, fc1.bias, fc2.weight, fc2.bias)",
        "digits.py:objective · eval mode",
        "Neither convex nor concave.",
        "by at least 0.4 (relative 0.4)",
        "Convexity is lost at digits.py:15 in fc2",
        "Figure 1.",
        "Where convexity is lost",
        "What to freeze",
        "1,040 parameters",
        "Block by block",
        "What is known",
        "Notes",
        "Check it again",
        'verdict.certificate.save("evidence.epi")',
    ]
    found = [shown.find(landmark) for landmark in landmarks]
    assert -1 not in found, landmarks[found.index(-1)]
    assert found == sorted(found)


def test_source_is_quoted_with_numbers(made, tmp_path) -> None:
    file = tmp_path / "digits.py"
    file.write_text(made.SOURCE)
    text = page(made.digits(file))
    assert re.search(r'<span class="epi-ln">15</span><mark> +return self\.fc2\(hidden\)</mark>', text)
    assert re.search(r'<span class="epi-ln">13</span> +def forward', text)


def test_the_written_certificate_is_the_one_to_verify(made) -> None:
    shown = Reader(page(made.digits(), Record(certificate="my evidence.epi"))).words
    assert "epigraph verify 'my evidence.epi'" in shown
    shown = Reader(page(made.digits(), Record(arguments="--expr 'x*y'"))).words
    assert "epigraph check --expr 'x*y' --certificate evidence.epi epigraph verify evidence.epi" in shown
    undecided = made.verdict(convex="undecided", concave="undecided", quasiconcave="undecided")
    assert "Check it again" not in page(undecided)


@pytest.mark.parametrize("count", [9, 600])
def test_each_step_of_a_derivation_is_on_the_page_once(made, count: int) -> None:
    read = Reader(page(made.proved(count)))
    ids = [a["id"] for tag, a in read.elements if tag == "li" and "id" in a]
    assert len(ids) == count
    assert {int(i.rpartition("-s")[2]) for i in ids} == set(range(1, count + 1))


def test_large_verdicts_stay_small_and_folded(made) -> None:
    text = page(made.large())
    assert len(text.encode()) < 1_000_000
    before = text.partition("<details>")[0]
    assert text.count('<th scope="row" class="epi-code">') == 150
    assert before.count('<th scope="row" class="epi-code">') <= 24


def test_the_same_verdict_gives_the_same_page(made) -> None:
    assert page(made.digits()) == page(made.digits())
    assert fragment(made.digits()) != fragment(made.proved())


def test_figures_are_chosen_by_width_and_both_described(made) -> None:
    read = Reader(page(made.verdict(certificates={"convex": made.certificate()})))
    pictures = [a for tag, a in read.elements if tag == "svg"]
    assert [a["role"] for a in pictures] == ["img", "img"]
    assert [tag for tag, _ in read.elements].count("desc") == 2


def test_a_certificate_without_picture_says_why(made) -> None:
    certificate = made.certificate()
    certificate.values["b"] = float("inf")
    shown = Reader(page(made.verdict(certificates={"convex": certificate}))).words
    assert "There is no picture, as J is not finite at all three points." in shown


def test_mathematics_is_set_after_escaping() -> None:
    assert mathematical("J(a) < 1.5e-09") == "<var>J</var>(<var>a</var>) &lt; 1.5·10<sup>−9</sup>"
    assert mathematical("<var>J</var>") == "&lt;var&gt;J&lt;/var&gt;"


# colours -------------------------------------------------------------------------------------------------------------
def palettes() -> list[dict[str, str]]:
    """The colours of the light, the dark and the printed page, each on top of the light ones."""
    css = resources.files("epigraph.report").joinpath("templates/style.css").read_text()
    rules = re.findall(r"\{([^{}]*--paper:[^{}]*)\}", css)
    blocks = [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{3,6});", rule)) for rule in rules]
    assert len(blocks) == 3
    return [blocks[0] | block for block in blocks]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", range(3), ids=["light", "dark", "print"])
def test_text_has_the_contrast_of_wcag_aa(scheme: int) -> None:
    colours = palettes()[scheme]
    for ink in ("ink", "soft", "gap", "chord", "good"):
        assert contrast(colours[ink], colours["paper"]) >= 4.5, ink
    for ground in ("wash", "mark"):
        assert contrast(colours["ink"], colours[ground]) >= 4.5, ground
    assert contrast(colours["soft"], colours["wash"]) >= 4.5
