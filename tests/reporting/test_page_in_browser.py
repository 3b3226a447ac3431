"""The page in a real browser, from `file://`, at the widths of a telephone, a tablet and a desk."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from marscf.reporting.catalogue import product
from marscf.reporting.collect import collect
from marscf.reporting.index import write_index

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome here")

#: Put at the page's end: does what a reader does, and leaves what came of it.
READER = """
<script>
addEventListener("load", () => setTimeout(() => {
  const all = (query) => [...document.querySelectorAll(query)];
  const found = {errors: window.errors, width: innerWidth, body: document.documentElement.scrollWidth};
  found.images = all("img[src]").every((image) => image.complete && image.naturalWidth > 0);
  found.hidden = all("#table_likelihood .detail").filter((cell) => !cell.checkVisibility()).length;
  found.shown = all("#table_likelihood tbody tr:first-child td").filter((cell) => cell.checkVisibility())
    .map((cell) => cell.dataset.name);
  found.cut = all("#table_likelihood td:not(.detail)").filter((cell) => cell.checkVisibility()
    && cell.getBoundingClientRect().right > innerWidth + 1).length;
  const more = document.querySelector("#table_likelihood .more");
  found.more = !more.hidden;
  if (!more.hidden) more.click();
  found.unfolded = all("#table_likelihood .detail").every((cell) => cell.checkVisibility());
  const systems = () => all("#table_likelihood tbody tr").map((row) => row.cells[2].dataset.value);
  all("#table_likelihood th .sort")[2].click();
  found.rising = systems();
  all("#table_likelihood th .sort")[2].click();
  found.falling = systems();
  all("#compare input").slice(0, 2).forEach((box) => box.click());
  found.compared = all("#compare table td").map((cell) => cell.textContent).slice(0, 3);
  found.curves = all("#compare svg path").length;
  found.headers = all("#compare th a").length;
  document.querySelector("#table_likelihood tbody tr").dispatchEvent(new Event("mouseenter"));
  found.same = all("tr.same").length;
  document.querySelector(".zoom").click();
  found.zoomed = document.querySelector("dialog").open;
  const seen = (query) => getComputedStyle(document.querySelector(query));
  found.colours = [seen("body").color, seen("body").backgroundColor, seen("small").color, seen("a").color];
  const left = Object.assign(document.createElement("pre"), {id: "found"});
  left.textContent = JSON.stringify(found);
  document.body.append(left);
}, 300));
</script>
"""
FIRST = '<script>window.errors = []; addEventListener("error", (e) => errors.push(e.message))</script>'


@pytest.fixture
def page(workdir, another_run):
    runs = [*workdir, *(another_run(name, 1.9, 0) for name in ("residual-flow", "marscf-mixlogcdf"))]
    collect("quick", runs)
    for name, inputs in (
        ("table_likelihood", []),
        ("fig07_sampling_speed", []),
        ("fig08_mnist_samples", runs[3:]),
    ):
        found = product(name)
        found.save(found.make("quick", inputs), f"reports/quick/{found.kind}s/{name}")
    return write_index("quick")


def read(page, width, *options):
    """What a reader finds, at a width, on a copy of the page that lies elsewhere."""
    copy = page.parent / f"mailed {width}.html"
    text = page.read_text()
    copy.write_text(text.replace("<header>", FIRST + "<header>", 1).replace("</html>", READER + "</html>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += ["--virtual-time-budget=4000", *options, "--dump-dom", copy.absolute().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_works_and_fits(page, width):
    found = read(page, width)
    assert found["errors"] == [] and found["images"]
    assert found["body"] <= found["width"]  # nothing scrolls sideways but what has its own bar
    assert {"system", "bits/dim", "published", "status"} <= set(found["shown"]) and found["cut"] == 0
    assert found["unfolded"] and found["more"] == (found["hidden"] > 0)
    assert found["more"] or width > 390  # a telephone folds
    values = [float(value) for value in found["rising"] if value]
    assert values == sorted(values) and len(values) == 5
    assert [float(value) for value in found["falling"] if value] == values[::-1]
    assert found["headers"] == 2 and found["compared"][0] == "bits/dim" and found["curves"] == 3
    assert found["same"] == 1 and found["zoomed"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_from_the_paper(page, scheme):
    option = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    ink, paper, soft, link = read(page, 1280, option)["colours"]
    assert (luminance(paper) > 0.5) == (scheme == "light")
    for colour in (ink, soft, link):
        light, dark = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, level AA


def luminance(colour):
    """Relative luminance of `rgb(r, g, b)`, by WCAG."""
    channels = [int(text) / 255 for text in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
