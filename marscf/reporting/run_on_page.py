"""What the page says about a run."""

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.durations import in_words
from marscf.errors import MarscfError
from marscf.images import tiled
from marscf.reporting import sources, tables
from marscf.reporting.collect import device
from marscf.reporting.metrics import error_of, pretty, title
from marscf.reporting.training_curves import VALIDATION, read_log
from marscf.runs import Run, identity, read_receipt
from marscf.settings import RunConfig

if TYPE_CHECKING:
    import pandas

#: A run's file -> the stage that makes it.
STAGES = {
    "likelihood.json": "evaluate likelihood",
    "as_published.json": "evaluate as-published",
    "fidelity.json": "evaluate fidelity",
    "interpolation.csv": "study interpolate",
    "latent_correlation.npz": "study latents",
}
SHEET = 36  # samples of a run that the page shows


def on_page(path: str, config: RunConfig, metrics: "pandas.DataFrame") -> dict[str, Any]:
    """All that the page says about a run; raises `MarscfError` where it was trained with another config."""
    run, receipt = Run.from_path(path), read_receipt(path)
    if receipt["config_hash"] != identity(path, config):
        raise MarscfError(
            f"{path}: was trained with another config ({receipt['config_hash']}); run the workflow again"
        )
    rows = metrics[
        metrics["dataset"].eq(run.dataset) & metrics["system"].eq(run.system) & metrics["seed"].eq(run.seed)
    ]
    host = receipt.get("host") or {}
    stages = [f"{stage} {path}" for file, stage in STAGES.items() if (Path(path) / file).is_file()]
    origin = receipt.get("imported_from")
    made = f"checkpoints --run {path}" if origin else f"train {path}"
    return {
        **vars(run),
        "anchor": tables.anchor(vars(run)),
        "title": sources.run_title(run),
        "path": path,
        "receipt": receipt,
        "receipt_text": json.dumps(receipt, indent=1),
        "config_text": json.dumps(config.to_json(), indent=1),
        "machine": device(host),
        "origin": origin,
        "duration": in_words(receipt.get("seconds") or 0),
        "curve": json.dumps(_curve(path)),
        "sheet": _sheet(path),
        "commands": [f"marscf {command}" for command in (made, *stages)],
        "numbers": [
            {
                "title": title(row["metric"]),
                "text": pretty(row["metric"], row["value"], error_of(row)),
                "n": f"{row['n']:,}",
                "protocol": row["protocol"],
            }
            for row in rows.to_dict("records")
        ],
    }


def _curve(path: str) -> list[list[float]]:
    """Minutes of training and bits/dim of validation images, a pair per validation."""
    log = read_log(path)
    if log is None:
        return []
    found = log.dropna(subset=[VALIDATION, "minutes"])
    return [[round(x, 4), round(y, 4)] for x, y in zip(found["minutes"], found[VALIDATION], strict=True)]


def _sheet(path: str) -> str | None:
    """The first samples of a run as the address of an image, None where none were drawn."""
    if not (Path(path) / "samples.npy").is_file():
        return None
    from PIL import Image

    sheet, content = tiled(sources.samples(path)[:SHEET]), io.BytesIO()
    Image.fromarray(sheet if sheet.shape[2] == 3 else sheet[:, :, 0]).save(content, "png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
