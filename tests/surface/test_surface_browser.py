"""The page in a browser: it renders, fits a telephone, logs no error and asks the network for nothing.

A wrapper page, served from here, holds the report in a frame of the width to be tested, measures it, and writes what
it found into its own document, which ``--dump-dom`` prints.  The server notes every request.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from epigraph.critical.search import minima
from epigraph.objective.target import load
from epigraph.report import landscape
from epigraph.report.html import fragment, page
from epigraph.report.words import Record

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path: apt-get install chromium"),
]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=4000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
WRAPPER = """<!DOCTYPE html><html><head><link rel="icon" href="data:,"></head><body style="margin:0">
<pre id="found"></pre>
%(frames)s
<script>
const names = %(names)s;
function box(e) { const r = e.getBoundingClientRect(); return [r.left, r.right, r.width, r.height]; }
function measure(frame) {
  const d = frame.contentDocument, root = d.documentElement;
  const scrolls = e => e && (e.tagName === "PRE" || scrolls(e.parentElement));
  const wide = [...d.querySelectorAll("main *, .epi *")].filter(
    e => box(e)[1] > root.clientWidth + 1 && !scrolls(e) && getComputedStyle(e).display !== "none");
  const shown = [...d.querySelectorAll("svg")].filter(e => box(e)[2] > 0);
  return {
    scroll: root.scrollWidth, client: root.clientWidth, height: root.scrollHeight,
    wide: wide.slice(0, 5).map(e => e.tagName + "." + e.getAttribute("class")),
    title: (d.querySelector(".epi-title") || {}).innerText, pictures: shown.map(box),
    narrow: shown.map(e => e.parentElement.className),
    smallest: Math.min(99, ...shown.flatMap(e => [...e.querySelectorAll("text")].map(
      t => parseFloat(d.defaultView.getComputedStyle(t).fontSize) * box(e)[2] / e.viewBox.baseVal.width))),
    paper: d.defaultView.getComputedStyle(d.querySelector(".epi")).backgroundColor,
    resources: d.defaultView.performance.getEntriesByType("resource").map(r => r.name),
  };
}
window.addEventListener("load", () => {
  const out = names.map((name, i) => measure(document.querySelectorAll("iframe")[i]));
  document.getElementById("found").textContent = JSON.stringify(out);
});
</script></body></html>"""


@pytest.fixture
def browse(tmp_path) -> Iterator[SimpleNamespace]:
    """``browse.measure({name: (html, width)})``: measurements by name, the requests and the console's messages."""
    pages: dict[str, str] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = pages.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def measure(cases, dark: bool = False):
        names = list(cases)
        pages.update({f"/{name}": html for name, (html, _) in cases.items()})
        frames = "\n".join(
            f'<iframe src="/{name}" style="border:0;width:{width}px;height:900px"></iframe>'
            for name, (_, width) in cases.items()
        )
        pages["/"] = WRAPPER % {"frames": frames, "names": json.dumps(names)}
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        address = f"http://127.0.0.1:{server.server_port}/"
        profile = [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom"]
        done = subprocess.run(
            [CHROMIUM, *FLAGS, *scheme, *profile, address], capture_output=True, text=True, timeout=120
        )
        found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.S)
        assert found, done.stderr[-2000:]
        measured = dict(zip(names, json.loads(unescape(found[1])), strict=True))
        return SimpleNamespace(
            found=measured, asked=set(asked), console=re.findall(r".*CONSOLE.*", done.stderr), pages=set(pages)
        )

    yield SimpleNamespace(measure=measure)
    server.shutdown()
    server.server_close()


def test_pages_fit_and_ask_for_nothing(made, browse) -> None:
    small = made.verdict(certificates={"convex": made.certificate(J=lambda s: 2 + s + 0.003 * (1 - s * s))})
    verdicts = {"digits": made.digits(), "deep": made.proved(600), "hostile": made.hostile()}
    verdicts |= {"large": made.large(), "small": small}
    cases = {f"{name}-{width}": (page(v), width) for name, v in verdicts.items() for width in (390, 1280)}
    seen = browse.measure(cases)
    assert seen.console == []
    assert seen.asked == seen.pages
    for name, facts in seen.found.items():
        width = int(name.rpartition("-")[2])
        assert facts["client"] == width, name
        assert facts["scroll"] <= width, (name, facts["wide"])
        assert facts["wide"] == [], name
        assert facts["resources"] == [], name
        assert facts["title"] == verdicts[name.partition("-")[0]].verdict
        assert facts["smallest"] >= 10, name
        if facts["pictures"]:
            assert set(facts["narrow"]) == {"epi-narrow" if width == 390 else "epi-wide"}
            assert facts["pictures"][0][3] > 150


def test_pages_of_critical_points_fit(browse) -> None:
    falling = "x**3 - 3*x + 1e-3*(y**2-1)**2 + 1234*z**2"  # a side that leads nowhere, long numbers
    found = {
        "xor": minima(load("zoo:xor", None, []), 60, transitions=True),
        "falling": minima(load(None, falling, []), 20, transitions=True),
    }
    cases = {f"{n}-{w}": (landscape.page(c, Record(target=n)), w) for n, c in found.items() for w in (390, 1280)}
    seen = browse.measure(cases)
    assert seen.console == [] and seen.asked == seen.pages and any(None in t.ends for t in found["falling"].transitions)
    for name, facts in seen.found.items():
        width = int(name.rpartition("-")[2])
        assert facts["scroll"] <= width and facts["wide"] == [], (name, facts["wide"])
        assert facts["resources"] == [] and facts["smallest"] >= 10, name
        assert set(facts["narrow"]) == {"epi-narrow" if width == 390 else "epi-wide"}


def test_everything_unfolded_still_fits_a_telephone(made, browse) -> None:
    verdicts = {"deep": made.proved(600), "large": made.large()}
    seen = browse.measure({n: (page(v).replace("<details", "<details open"), 390) for n, v in verdicts.items()})
    for name, facts in seen.found.items():
        assert facts["scroll"] <= 390, (name, facts["wide"])
        assert facts["wide"] == [], name
        assert facts["height"] > 20_000


def test_dark_and_light(made, browse) -> None:
    html = page(made.digits())
    assert browse.measure({"light": (html, 1280)}).found["light"]["paper"] == "rgb(253, 252, 249)"
    assert browse.measure({"dark": (html, 1280)}, dark=True).found["dark"]["paper"] == "rgb(22, 23, 26)"


def test_fragment_among_the_styles_of_a_notebook(made, browse) -> None:
    notebook = """<!DOCTYPE html><html><head><link rel="icon" href="data:,"><style>
    .out table { border: 3px solid red; font-size: 9px } .out td, .out th { text-align: right; white-space: nowrap }
    .out pre { white-space: pre } .out tbody tr:nth-child(odd) { background: #eee }
    </style></head><body><main><div class="out">%s</div></main></body></html>"""
    both = fragment(made.digits()) + fragment(made.large())
    facts = browse.measure({"cell": (notebook % both, 700)}).found["cell"]
    assert facts["scroll"] <= 700
    assert facts["wide"] == []
    assert facts["title"] == "nonconvex"


def test_the_measurements_can_fail(made, browse) -> None:
    html = page(made.digits())
    bad = {
        "wide": html.replace("<main>", '<main><div style="width:900px">x</div>'),
        "script": html.replace("<main>", "<main><script>1</script>"),
        "asks": re.sub(r"<meta http-equiv[^>]*>", "", html).replace("<main>", '<main><img src="/picture.png">'),
    }
    seen = browse.measure({name: (text, 390) for name, text in bad.items()})
    assert seen.found["wide"]["scroll"] > 390
    assert seen.found["wide"]["wide"]
    assert seen.found["asks"]["resources"]
    assert seen.asked - seen.pages == {"/picture.png"}
    assert any("Content Security Policy" in line for line in seen.console)
