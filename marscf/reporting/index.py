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
from marscf.errors import MarscfError
from marscf.files import read_json, replacing
from marscf.reporting import sources, tables
from marscf.reporting.collect import FLOOR, REAL, device, read_metrics, reports
from marscf.reporting.findings import findings, headlines, plain
from marscf.reporting.interpolation_table import sensitivity_table
from marscf.reporting.metrics import pretty, title
from marscf.reporting.speed import SWEEP, growth_table, speed_table
from marscf.reporting.style import PAGE
from marscf.reporting.training_curves import equal_time
from marscf.runs import RECEIPT, Run, identity, run_config

if TYPE_CHECKING:
    import pandas

#: The page's order: (heading, tables and figures under it).
SECTIONS = [
    ("Likelihood", ["table_likelihood"]),
    (
        "Samples",
        ["fig08_mnist_samples", "fig09_cifar10_samples", "fig10_imagenet32_samples", "table_fidelity"],
    ),
    ("Sampling speed", ["fig07_sampling_speed", "table_sampling_speed", "table_sampling_growth"]),
    ("Interpolation", ["fig11_interpolation", "fig12_interpolation_scores", "table_interpolation"]),
    ("Why channels need each other", ["latent_correlation"]),
    ("Training", ["training_curves", "table_equal_time"]),
    ("Published numbers", ["table_published"]),
]

#: A run's file -> the stage that makes it.
STAGES = {
    "likelihood.json": "evaluate likelihood",
    "fidelity.json": "evaluate fidelity",
    "interpolation.csv": "study interpolate",
    "latent_correlation.npz": "study latents",
}


def write_index(scale: str) -> Path:
    """Write `index.html` and `summary.txt` from what lies in `reports/<scale>` and the runs' receipts.

    The page holds its figures, styles and scripts, and asks no other host for anything. What was not drawn
    (a narrowed selection) is left out. Raises `MarscfError` where there are no metrics or a receipt is gone.
    """
    import jinja2

    folder = reports(scale)
    the_scale = load_config().scale(scale)
    metrics = read_metrics(folder / "metrics.csv")
    runs = [_run(run, metrics) for run in _runs(metrics)]
    found = findings(metrics, scale)
    lines = headlines(metrics, scale, found)
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = _inline
    page = environment.get_template("page.html").render(
        **{"scale": the_scale, "version": __version__, "headlines": lines, "findings": found, "runs": runs},
        machines=sorted({run["machine"] for run in runs}),
        training=_duration(sum(run["receipt"].get("seconds") or 0 for run in runs)),
        datasets=[sources.dataset_title(name) for name in dict.fromkeys(metrics["dataset"])],
        systems=[sources.system_title(name) for name in dict.fromkeys(run["system"] for run in runs)],
        sections=list(_sections(scale, metrics)),
        records=list(_records(scale, metrics)),
        css=(here / "page.css").read_text(),
        js=(here / "page.js").read_text(),
    )
    for name, text in (("index.html", page), ("summary.txt", plain("\n".join(lines) + "\n"))):
        with replacing(folder / name) as temporary:
            temporary.write_text(text)
    return folder / "index.html"


def _runs(metrics: "pandas.DataFrame") -> list[Run]:
    """The runs that were trained: those with a receipt's or a likelihood's rows."""
    trained = metrics[metrics["metric"] == "parameters"]
    return [
        Run(row["scale"], row["dataset"], row["system"], int(row["seed"]))
        for row in trained.drop_duplicates(["dataset", "system", "seed"]).to_dict("records")
    ]


def _run(run: Run, metrics: "pandas.DataFrame") -> dict[str, Any]:
    """All that the page says of a run."""
    receipt = read_json(run.path / RECEIPT)
    config = run_config(run.path)
    if receipt["config_hash"] != identity(run.path, config):
        raise MarscfError(
            f"{run.path}: was trained with another config ({receipt['config_hash']}); run the workflow again"
        )
    rows = metrics[
        metrics["dataset"].eq(run.dataset) & metrics["system"].eq(run.system) & metrics["seed"].eq(run.seed)
    ]
    host = receipt.get("host") or {}
    stages = ["train", *(stage for file, stage in STAGES.items() if (run.path / file).is_file())]
    return {
        **vars(run),
        "anchor": tables.anchor(vars(run)),
        "title": sources.run_title(run),
        "path": str(run.path),
        "receipt": receipt,
        "receipt_text": json.dumps(receipt, indent=1),
        "config_text": json.dumps(config.to_json(), indent=1),
        "machine": device(host),
        "duration": _duration(receipt.get("seconds") or 0),
        "commands": [f"marscf {stage} {run.path}" for stage in stages],
        "numbers": [
            {
                "title": title(row["metric"]),
                "text": pretty(
                    row["metric"], row["value"], row["stderr"] if row["stderr"] == row["stderr"] else None
                ),
                "n": f"{row['n']:,}",
                "protocol": row["protocol"],
            }
            for row in rows.to_dict("records")
        ],
    }


def _records(scale: str, metrics: "pandas.DataFrame") -> Iterator[dict[str, str]]:
    """Yield how the numbers were measured that are of no run: of real images, and the sampling speeds."""
    for dataset in dict.fromkeys(metrics.loc[metrics["system"] == REAL, "dataset"]):
        floor = Run(scale, dataset, REAL, 0)
        folder = floor.path.parent.parent
        yield {
            "anchor": tables.anchor(vars(floor)),
            "title": f"Real images, {sources.dataset_title(dataset)}",
            "command": f"marscf evaluate floor {folder}",
            "summary": "Measurements and how they were made",
            "text": json.dumps(read_json(folder / FLOOR), indent=1, ensure_ascii=False),
        }
    if not (path := reports(scale) / "sampling_speed.csv").is_file():
        return
    record = read_json(path.with_suffix(".json")) if path.with_suffix(".json").is_file() else {}
    # without the single times
    points = [{k: v for k, v in point.items() if k != "milliseconds"} for point in record.get("points", [])]
    yield {
        "anchor": SWEEP,
        "title": "Sampling-speed sweep",
        "command": f"marscf study sampling-speed --scale {scale}",
        "summary": "Machine, settings, weights of each point, what was left out",
        "text": json.dumps({**record, "points": points}, indent=1),
    }


def _interpolated(scale: str, metrics: "pandas.DataFrame") -> list[str]:
    """Folders of the runs that the scale interpolates with."""
    chosen = {(entry.dataset, entry.system) for entry in load_config().scale(scale).studies.interpolation}
    found = [str(run.path) for run in _runs(metrics) if (run.dataset, run.system) in chosen]
    return [run for run in found if (Path(run) / "interpolation.csv").is_file()]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _sections(scale: str, metrics: "pandas.DataFrame") -> Iterator[dict[str, Any]]:
    """Yield the sections that have anything in them."""
    for heading, names in SECTIONS:
        items = [item for name in names if (item := _item(scale, name, metrics))]
        if items:
            yield {"heading": heading, "anchor": re.sub(r"\W+", "-", heading.lower()), "items": items}


def _item(scale: str, name: str, metrics: "pandas.DataFrame") -> dict[str, Any] | None:
    folder = reports(scale)
    item = {"name": name, "text": _prose(folder / "notebooks" / f"{name}.ipynb")}
    if drawn := load_config().scale(scale).figures.get(name):
        item["text"]["title"] += f"; here {sources.dataset_title(drawn.dataset)}"
    if name.startswith("table_"):
        if not (folder / "tables" / f"{name}.csv").is_file():
            return None
        makers = {
            "table_likelihood": lambda: tables.likelihood(metrics),
            "table_fidelity": lambda: tables.fidelity(metrics),
            "table_equal_time": lambda: equal_time([str(run.path) for run in _runs(metrics)]),
            "table_interpolation": lambda: sensitivity_table(_interpolated(scale, metrics)),
            "table_sampling_speed": lambda: speed_table(scale),
            "table_sampling_growth": lambda: growth_table(scale),
            "table_published": lambda: tables.published_numbers(metrics, scale),
        }
        table = makers[name]()
        return {**item, "table": table.html(link=True), "caption": table.caption}
    path = folder / "figures" / f"{name}.svg"
    if not path.is_file():
        return None
    svg = path.read_bytes()
    image = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    points = re.search(rb'<svg [^>]*?width="([\d.]+)pt"', svg)  # so that letters are as large in all figures
    inches = float(points[1]) / 72 if points else PAGE
    return {**item, "image": image, "inches": f"{inches:.2f}", "origin": _origin(name, item["text"]["runs"])}


def _origin(name: str, runs: list[str]) -> list[dict[str, str]]:
    """Where a figure's numbers and images come from: titles and places on the page."""
    if name == "fig07_sampling_speed":
        return [{"anchor": SWEEP, "title": "the sampling-speed sweep"}]
    found = [Run.from_path(run) for run in runs]
    return [{"anchor": tables.anchor(vars(run)), "title": sources.run_title(run)} for run in found]


def _prose(notebook: Path) -> dict[str, Any]:
    """The title and text of an executed notebook's first cell, and the runs that it was called with."""
    name = notebook.stem.replace("_", " ")
    if not notebook.is_file():
        return {"title": name, "html": "", "runs": []}
    content = read_json(notebook)
    called = content["metadata"].get("papermill", {}).get("parameters", {})
    first = next((cell for cell in content["cells"] if cell["cell_type"] == "markdown"), None)
    text = "".join(first["source"]) if first else f"# {name}"
    heading, _, rest = text.partition("\n")
    paragraphs = [part.strip() for part in rest.split("\n\n") if part.strip()]
    return {
        "title": heading.lstrip("# ").strip(),
        "html": "\n".join(f"<p>{_inline(part)}</p>" for part in paragraphs),
        "runs": called.get("runs", "").split(),
    }


def _inline(text: str) -> str:
    """Markdown's `code`, **bold**, *italic* and [links](#within-the-page), everything else escaped."""
    text = re.sub(r"\[([^][]*)\]\((#[^)]*)\)", r'<a href="\2">\1</a>', html.escape(text))
    for pattern, tag in ((r"`([^`]+)`", "code"), (r"\*\*([^*]+)\*\*", "b"), (r"\*([^*]+)\*", "i")):
        text = re.sub(pattern, rf"<{tag}>\1</{tag}>", text)
    return text
