import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from marscf.config import loading
from marscf.errors import MarscfError
from marscf.evaluation.inception import RECORD, recorded_missing, without
from marscf.files import read_json, write_json
from marscf.reporting.catalogue import product
from marscf.reporting.collect import collect
from marscf.reporting.index import write_index


class Page(HTMLParser):
    """Ids, links and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.addresses, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.addresses += [attributes[name] for name in ("src", "srcset", "poster") if name in attributes]


def made(name, runs):
    """Make a table or figure, as its notebook does."""
    found = product(name)
    found.save(found.make("quick", runs), f"reports/quick/{found.kind}s/{name}")


@pytest.fixture
def page(workdir):
    collect("quick", workdir)
    made("table_likelihood", workdir)
    made("fig07_sampling_speed", workdir)
    return write_index("quick").read_text()


def test_page_is_self_contained_and_every_link_has_its_place(page):
    found = Page(page)
    assert all(address.startswith("data:") for address in found.addresses)
    assert found.links and all(link[1:] in found.ids for link in found.links if link.startswith("#"))
    assert not [link for link in found.links if not link.startswith("#")]
    assert not re.search(r"url\(|@import|<link|src=\"http", page)
    assert len(set(found.ids)) == len(found.ids)


def test_numbers_link_to_run_config_receipt_and_command(page):
    assert '<a href="#run-digits-marscf-affine-seed0">1.800 ± 0.010</a>' in page
    run = page.split('id="run-digits-marscf-affine-seed0"')[1].split("</article>")[0]
    assert "marscf train data/runs/quick/digits/marscf-affine/seed0" in run
    assert "lstm_channels" in run and "weights_sha256" in run and "8 draws" in run


def test_figures_link_to_their_runs_and_say_the_command_that_draws_them(workdir, another_run):
    runs = [*workdir, another_run("residual-flow", 1.8, 0), another_run("marscf-mixlogcdf", 1.7, 0)]
    collect("quick", runs)
    made("fig08_mnist_samples", runs[3:])
    made("fig07_sampling_speed", [])
    page = write_index("quick").read_text()
    found = Page(page)
    assert all(link[1:] in found.ids for link in found.links)
    origins = {
        name: page.split(f'<article id="{name}">')[1].split('class="origin">')[1].split("</p>")[0]
        for name in ("fig07_sampling_speed", "fig08_mnist_samples")
    }
    for system in ("residual-flow", "marscf-mixlogcdf"):
        assert f'href="#run-digits-{system}-seed0"' in origins["fig08_mnist_samples"]
    assert 'href="#sampling-speed-sweep"' in origins["fig07_sampling_speed"]
    command = "snakemake --cores all reports/quick/figures/fig08_mnist_samples.svg --config scale=quick"
    assert command in origins["fig08_mnist_samples"]


def test_summary_is_three_lines_and_on_the_page(page):
    lines = Path("reports/quick/summary.txt").read_text().splitlines()
    assert len(lines) == 3 and not any("](#" in line for line in lines)
    assert lines[1] in page
    assert "mAR-SCF (affine) on Digits 8×8: 1.800 ± 0.010 bits/dim on 360 test images" in lines[0]
    number = '<a href="#run-digits-marscf-affine-seed0">1.800 ± 0.010 bits/dim</a>'
    assert number in page.split("headlines")[-1].split("</ul>")[0]


def test_figure_has_the_text_of_its_entry(page):
    assert "<h3>Figure 7: sampling speed over the image&#39;s side</h3>" in page
    assert "<b>In the paper.</b>" in page
    assert 'style="--inches: 6.90"' in page  # drawn as wide as its letters ask for


def test_only_what_was_drawn_is_shown(page):
    assert 'id="table_likelihood"' in page and 'id="fig11_interpolation"' not in page


def test_page_says_why_there_is_no_fid_and_what_to_do(workdir):
    scale = Path("config/scales/quick.yaml")
    scale.write_text(scale.read_text().replace("extractor: digits-net", "extractor: inception"))
    loading._load.cache_clear()
    write_json(RECORD, {"missing": "no Inception weights <file>; put the file there"})
    line = without(recorded_missing())
    for fid_is_there in (True, False):
        collect("quick", workdir)
        page, summary = write_index("quick").read_text(), Path("reports/quick/summary.txt").read_text()
        assert (html.escape(line) in page) == (line in summary) == (not fid_is_there)
        for path in Path("data/runs/quick").glob("**/fidelity.json"):
            path.unlink()
        for path in Path("data/runs/quick").glob("**/floor.json"):
            path.unlink()
    loading._load.cache_clear()


def test_page_says_which_run_other_code_trained(workdir):
    collect("quick", workdir)
    receipt = read_json(Path(workdir[0]) / "receipt.json")
    for name in ("receipt.json", "finished.json"):
        write_json(Path(workdir[0]) / name, {**receipt, "code": "of an edited model"})
    page, summary = write_index("quick").read_text(), Path("reports/quick/summary.txt").read_text()
    said = [f"{run} was trained by other code than there is now" for run in workdir]
    assert [line in page and line in summary for line in said] == [True, *[False] * (len(said) - 1)]


def test_an_imported_run_has_the_command_that_imports_it(workdir):
    receipt = Path(workdir[0]) / "receipt.json"
    origin = {"imported_from": "theirs.pt", "imported_sha256": "0" * 64, "imported_code": "mar-scf"}
    ours = {key: value for key, value in json.loads(receipt.read_text()).items() if key != "code_version"}
    receipt.write_text(json.dumps(ours | origin))
    collect("quick", workdir)
    run = write_index("quick").read_text().split(f"<code>{workdir[0]}</code>")[1].split("</article>")[0]
    assert "Weights imported from theirs.pt" in run and " of training" not in run
    assert f"marscf checkpoints --run {workdir[0]}" in run and "marscf train" not in run


def test_run_of_another_config_is_refused(workdir):
    collect("quick", workdir)
    path = Path(workdir[0]) / "receipt.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "config_hash": "0" * 16}))
    with pytest.raises(MarscfError, match="another config"):
        write_index("quick")


def test_page_says_a_verdict_in_words(page):
    assert '<li class="one-seed"><b class="verdict">one seed</b>' in page


def test_a_narrowed_page_shows_its_own_selection_alone(workdir, another_run):
    runs = [*workdir, another_run("residual-flow", 1.8, 0), another_run("marscf-mixlogcdf", 1.7, 0)]
    collect("quick", runs)
    made("fig08_mnist_samples", runs[3:])
    made("fig07_sampling_speed", [])
    histogram = [run for run in workdir if "/histogram/" in run]
    collect("quick", histogram)
    made("table_likelihood", histogram)
    page = write_index("quick").read_text()
    assert page.count("--config scale=quick systems=histogram</code>") == 2  # the page's own, and the table's
    found = Page(page)
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert "table_likelihood" in found.ids
    assert not {"fig08_mnist_samples", "fig07_sampling_speed", "sampling-speed-sweep"} & set(found.ids)
    assert {row.split(",")[2] for row in Path("reports/quick/metrics.csv").read_text().splitlines()[1:]} == {
        "histogram",
        "real",
    }


def test_systems_that_the_paper_does_not_have_are_marked_wherever_two_of_them_meet(workdir, another_run):
    runs = [*workdir, another_run("marscf-vardeq", 1.7, 0), another_run("gaussian-vardeq", 1.8, 0)]
    collect("quick", runs)
    made("table_likelihood", runs)
    text = re.sub(r"<[^>]+>", "", write_index("quick").read_text())
    evidence = text.split("Beside learned dequantisation too")[1][:400]
    assert evidence.count("(learned dequantisation) †") == 2
    assert "† not in the paper" in text and "Glow †" not in text
