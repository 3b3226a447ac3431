"""The page to read: `reports/<scale>/index.html`, self-contained, and `summary.txt`."""

import base64
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf import __version__
from marscf.config import load_config
from marscf.durations import in_words
from marscf.evaluation.inception import recorded_missing, without
from marscf.evaluation.measured import read_measurements
from marscf.files import read_json, replacing
from marscf.reporting import catalogue, sources, tables
from marscf.reporting.catalogue.product import METRICS, SWEEP, Plan, Product
from marscf.reporting.collect import FLOOR, REAL, read_metrics, reports, unsealed_sweep
from marscf.reporting.findings import findings, headlines, plain
from marscf.reporting.run_on_page import on_page
from marscf.reporting.speed import SWEEP_PLACE
from marscf.reporting.style import PAGE
from marscf.runs import Run, other_code

if TYPE_CHECKING:
    import pandas


def write_index(scale: str) -> Path:
    """Write `index.html` and `summary.txt` from what is in `reports/<scale>` and the runs' receipts.

    The page holds its figures, styles and scripts, and asks no other host for anything. What was not drawn
    (a narrowed selection) is left out. Raises `MarscfError` where the metrics or a receipt are missing.
    """
    import jinja2

    folder = reports(scale)
    plan, metrics = sources.measured_plan(scale), read_metrics(folder / METRICS)
    runs = [on_page(path, config, metrics) for path, config in plan.runs.items()]
    found = findings(metrics, scale)
    lines = [*headlines(metrics, scale, found), *_not_measured(plan, metrics)]
    lines += [line for path, config in plan.runs.items() if (line := other_code(path, config.model))]
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = _inline
    systems = list(dict.fromkeys(run["system"] for run in runs))
    page = environment.get_template("page.html").render(
        **{"scale": plan.scale, "version": __version__, "headlines": lines, "findings": found, "runs": runs},
        machines=sorted({run["machine"] for run in runs}),
        training=in_words(sum(run["receipt"].get("seconds") or 0 for run in runs)),
        datasets=list(map(sources.dataset_title, plan.datasets())),
        selected=_selected(plan),
        systems=", ".join(map(sources.system_title, systems)) + sources.explained(systems),
        sections=list(_sections(plan)),
        records=list(_records(plan, metrics)),
        css=(here / "page.css").read_text(encoding="utf-8"),
        js=(here / "page.js").read_text(encoding="utf-8"),
    )
    for name, text in (("index.html", page), ("summary.txt", plain("\n".join(lines) + "\n"))):
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / "index.html"


def _selected(plan: Plan) -> str:
    """What `--config` of Snakemake selects the runs by."""
    words = [f"scale={plan.scale.name}"]
    if not plan.scale.published:
        systems = list(dict.fromkeys(config.system for config in plan.runs.values()))
        for kind, chosen, whole in (
            ("systems", systems, load_config().systems_of(plan.scale.name)),
            ("datasets", plan.datasets(), plan.scale.datasets),
        ):
            if set(chosen) != set(whole):
                words.append(f"{kind}={','.join(chosen)}")
    return " ".join(words)


def _not_measured(plan: Plan, metrics: "pandas.DataFrame") -> Iterator[str]:
    """Say why there is no FID, where Inception's weights could not be had."""
    asked = plan.scale.evaluation.fidelity.extractor == "inception"
    if asked and not metrics["metric"].str.startswith("fid").any() and (missing := recorded_missing()):
        yield without(missing)


def _records(plan: Plan, metrics: "pandas.DataFrame") -> Iterator[dict[str, str]]:
    """Yield how numbers that belong to no run were measured: those of real images, sampling speeds."""
    scale = plan.scale.name
    for dataset in dict.fromkeys(metrics.loc[metrics["system"] == REAL, "dataset"]):
        floor = Run(scale, dataset, REAL, 0)
        folder = floor.path.parent.parent
        read_measurements(folder / FLOOR, floor)  # or it says that it was altered
        yield {
            "anchor": tables.anchor(vars(floor)),
            "title": f"Real images, {sources.dataset_title(dataset)}",
            "command": f"marscf evaluate floor {folder}",
            "summary": "Measurements and how they were made",
            "text": json.dumps(read_json(folder / FLOOR), indent=1, ensure_ascii=False),
        }
    path = reports(scale) / "sampling_speed.csv"
    if not plan.timed() or not path.is_file():
        return
    record = read_json(unsealed_sweep(path.with_suffix(".json")))
    # without the single times
    points = [{k: v for k, v in point.items() if k != "milliseconds"} for point in record.get("points", [])]
    yield {
        "anchor": SWEEP_PLACE,
        "title": "Sampling-speed sweep",
        "command": f"marscf study sampling-speed --scale {scale}",
        "summary": "Machine, settings, weights of each point, what was left out",
        "text": json.dumps({**record, "points": points}, indent=1),
    }


def _sections(plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield the sections that have anything in them."""
    for heading, products in catalogue.SECTIONS.items():
        items = [item for product in products if (item := _item(product, plan))]
        if items:
            yield {"heading": heading, "anchor": re.sub(r"\W+", "-", heading.lower()), "items": items}


def _item(product: Product, plan: Plan) -> dict[str, Any] | None:
    """What the page shows of a table or figure: what its notebook wrote.

    None where nothing is there, or only what an earlier and wider selection left.
    """
    paths = [Path(name) for name in product.outputs(plan.scale.name)]
    if not product.about(plan) or not all(path.is_file() for path in paths):
        return None
    title = product.title
    if shown := plan.scale.figures.get(product.name):
        title += f"; here {sources.dataset_title(shown.dataset)}"
    paragraphs = [_inline(part.strip()) for part in product.text.split("\n\n")]
    item = {
        "name": product.name,
        "kind": product.kind,
        "title": title,
        "text": "\n".join(f"<p>{part}</p>" for part in paragraphs),
        "command": f"snakemake --cores all {paths[-1]} --config {_selected(plan)}",
        "origin": _origin(product, plan),
    }
    if product.kind == "table":
        caption, table = tables.saved(paths[-1])
        return {**item, "caption": caption, "table": table}
    svg = paths[-1].read_bytes()
    points = re.search(rb'<svg [^>]*?width="([\d.]+)pt"', svg)  # so that letters are as large in all figures
    inches = float(points[1]) / 72 if points else PAGE
    image = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    return {**item, "image": image, "inches": f"{inches:.2f}"}


def _origin(product: Product, plan: Plan) -> list[dict[str, str]]:
    """Where a figure's numbers and images come from: titles and places on the page."""
    if product.kind == "table":  # each number has its own link
        return []
    if product.inputs == SWEEP:
        return [{"anchor": SWEEP_PLACE, "title": "the sampling-speed sweep"}]
    found = [Run.from_path(run) for run in product.about(plan)]
    return [{"anchor": tables.anchor(vars(run)), "title": sources.run_title(run)} for run in found]


def _inline(text: str) -> str:
    """Markdown's `code`, **bold**, *italic* and [links](#within-the-page), everything else escaped."""
    text = re.sub(r"\[([^][]*)\]\((#[^)]*)\)", r'<a href="\2">\1</a>', html.escape(text))
    for pattern, tag in ((r"`([^`]+)`", "code"), (r"\*\*([^*]+)\*\*", "b"), (r"\*([^*]+)\*", "i")):
        text = re.sub(pattern, rf"<{tag}>\1</{tag}>", text)
    return text
