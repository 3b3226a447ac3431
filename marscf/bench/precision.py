"""What bfloat16 costs in bits/dim: validation curves of runs that differ in `training.precision` alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from marscf.errors import ConfigError
from marscf.files import replacing, write_json
from marscf.reporting.training_curves import VALIDATION, read_records
from marscf.runs import difference, run_config
from marscf.settings import RunConfig

if TYPE_CHECKING:
    import pandas

KINDS: tuple[Literal["float32"], Literal["bfloat16"]] = ("float32", "bfloat16")


def compare(runs: Sequence[Path], folder: Path) -> list[dict[str, Any]]:
    """Write `precision.csv` (one row per validation) and `.json` into a folder, draw each pair's curves.

    Returns one row per pair, `{system, dataset, step, float32, bfloat16}`: bits/dim of the validation images
    at the last step. Raises `ConfigError` where runs are no such pairs.
    """
    import pandas

    pairs: dict[tuple[str, ...], dict[str, RunConfig]] = {}
    rows = []
    for run in runs:
        config = run_config(run)
        about = {"dataset": config.dataset, "system": config.system}
        precision = config.training.precision
        own = pairs.setdefault(tuple(about.values()), {})
        if precision in own:
            raise ConfigError(f"{run}: a second run of {about['system']} in {precision}")
        same = replace(config.training, precision=KINDS[0])
        own[precision] = replace(config, training=same)
        validations = [record for record in read_records(run) if VALIDATION in record]
        if not validations:
            raise ConfigError(f"{run}: nothing was validated; train it first: marscf train {run}")
        row = about | {"precision": precision}
        rows += [row | {"step": v["step"], "bits_per_dim": v[VALIDATION]} for v in validations]
    for names, configs in pairs.items():
        if set(configs) != set(KINDS):
            raise ConfigError(f"{' '.join(names)}: give one run in each of {' and '.join(KINDS)}")
        if configs[KINDS[0]] != configs[KINDS[1]]:
            where = difference(configs[KINDS[0]], configs[KINDS[1]])
            raise ConfigError(f"{' '.join(names)}: the runs differ in more than precision: {where}")
    frame = pandas.DataFrame(rows)
    with replacing(folder / "precision.csv") as temporary:
        frame.to_csv(temporary, index=False)
    found = list(_ends(frame))
    write_json(folder / "precision.json", found)
    _draw(frame, folder / "precision")
    return found


def _ends(frame: "pandas.DataFrame") -> Iterator[dict[str, Any]]:
    for (dataset, system), group in frame.groupby(["dataset", "system"], sort=False):
        table = group.pivot(index="step", columns="precision", values="bits_per_dim").dropna()
        ends: dict[str, Any] = {kind: float(table[kind].iloc[-1]) for kind in KINDS}
        yield {"system": system, "dataset": dataset, "step": int(table.index[-1]), **ends}


def _draw(frame: "pandas.DataFrame", prefix: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import seaborn
    from matplotlib import pyplot

    from marscf.reporting import style

    style.use()
    pairs = list(frame.groupby(["system", "dataset"], sort=False))
    figure, grid = pyplot.subplots(1, len(pairs), figsize=(style.PAGE, 2.4), squeeze=False)
    for axes, ((system, dataset), group) in zip(grid[0], pairs, strict=True):
        lines = {"hue": "precision", "style": "precision", "hue_order": KINDS, "style_order": KINDS}
        seaborn.lineplot(group, x="step", y="bits_per_dim", palette="colorblind", ax=axes, **lines)
        axes.set(title=f"{system}, {dataset}", ylabel="validation bits/dim")
    style.save(figure, prefix)
    pyplot.close(figure)
