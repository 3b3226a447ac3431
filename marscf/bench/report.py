"""What was measured, to read: `README.md` in the benchmarks' folder."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from marscf.files import read_json, replacing

WORKS = ("training", "evaluation", "sampling")
OURS, COMPILED, PEER, YARDSTICK = "ours", "ours compiled", "peer", "yardstick"  # rows of a system's record


def write_report(folder: Path) -> Path:
    """Write `folder/README.md` from the `.json` files of `marscf bench` that lie there."""
    records = {path.stem: read_json(path) for path in sorted(folder.glob("*-*.json"))}
    systems = {path.stem: read_json(path) for path in sorted(folder.glob("systems/*-*.json"))}
    speeds, beside = _of(records, *WORKS), _of(systems, *WORKS)
    growths = _of(records, "growth") + _of(systems, "growth")
    lines = [
        "# What the code costs",
        "",
        "Written by `marscf bench`; `marscf bench --help` says how to make it again.",
        "",
    ]
    if speeds:
        lines += [*_speeds(speeds), *_profiles(speeds)]
    if beside:
        lines += _systems(beside)
    if growths:
        lines += _growth(growths)
    if (folder / "precision.json").is_file():
        lines += _precision(read_json(folder / "precision.json"))
    if (folder / "history.png").is_file():
        lines += ["## History", "", "![Speed over the step-by-step reference, by date](history.png)", ""]
    path = folder / "README.md"
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def _of(records: dict[str, dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """The records of each kind in turn."""
    return [records[name] for kind in kinds for name in records if name.startswith(f"{kind}-")]


def _table(columns: Sequence[str], words: int, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table whose first columns are words and whose others are numbers."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * words}{'--:|' * (len(columns) - words)}"
    for cells in rows:
        yield f"| {' | '.join(cells)} |"


def _title(row: dict[str, Any]) -> str:
    size = f"{row['coupling']} {row['steps']}×{row['channels']}, {row['side']}×{row['side']}"
    return f"{row['work']}, {size}, batch {row['batch_size']}"


def _speeds(records: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "## Speed, in turn in one process",
        "",
        "Medians. ×reference: times as fast as the step-by-step reference; ×authors: as the authors'",
        "code, on equal weights; floor: ×authors if there were only the convolutions and matrix products, at",
        "this machine's own rate of a large product; kept: activations for the backward pass; launches: GPU.",
        "",
    )
    columns = ["work", "implementation", "images/s", "×reference", "×authors"]
    rows = (
        [
            _title(row),
            row["implementation"],
            f"{row['images_per_second']:.2f}",
            f"{row['speed_over_reference']:.2f}",
            _number(row["speed_over_authors"]),
            _number(row["speed_over_authors"], 1 / row["share_of_matmul_rate"]),
            _megabytes(row["kept_megabytes"]),
            str(row["launches"] or ""),
        ]
        for record in records
        for row in record["rows"]
    )
    yield from _table([*columns, "floor", "kept, MB", "launches"], 2, rows)
    yield from ("", *_machines(records), "")


def _profiles(records: list[dict[str, Any]]) -> Iterator[str]:
    kinds = list(next(iter(records[0]["profile"].values())))
    yield from ("## Where the time goes", "")
    rows = (
        [_title(record["rows"][0]), name, *(f"{share:.0%}" for share in shares.values())]
        for record in records
        for name, shares in record["profile"].items()
    )
    yield from _table(["work", "implementation", *kinds], 2, rows)
    yield ""


def _systems(records: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each system and kind of work; with a peer's, where one was measured beside it."""
    yield from (
        "## All systems, beside other public codes",
        "",
        "Of equal architecture, in turn in one process, float32; medians. ×peer: times as fast as theirs.",
        "Compiled: the same for ours when compiled. Products: the share of time in convolutions and matrix",
        "products. Peak: memory of a training step.",
        "",
    )
    columns = ["work", "system", "batch", "parameters, M", "images/s", "×peer", "compiled"]
    yield from _table([*columns, "products", "peer's", "peak, MB", "peer"], 2, map(_system, records))
    yield from ("", *_machines(records), "")


def _system(record: dict[str, Any]) -> list[str]:
    rows = {row["implementation"]: row for row in record["rows"]}
    ours = rows[OURS]
    return [
        f"{ours['work']}, {ours['shape']}",
        f"{ours['system']}, {record['scale']}",
        str(ours["batch_size"]),
        f"{ours['parameters'] / 1e6:.3g}",
        f"{ours['images_per_second']:.3g}",
        _number(ours["times_as_fast_as_peer"]),
        _number(rows[COMPILED]["times_as_fast_as_peer"]) if COMPILED in rows else "",
        *(_products(record["profile"].get(name)) for name in (OURS, PEER)),
        *(_step_peak(rows.get(name)) for name in (OURS, PEER)),
    ]


def _products(shares: dict[str, float] | None) -> str:
    return f"{shares['convolutions'] + shares['matrix products']:.0%}" if shares else ""


def _step_peak(row: dict[str, Any] | None) -> str:
    return _megabytes(row["peak_megabytes"]) if row and row["work"] == "training" else ""


def _growth(records: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "## How the cost grows",
        "",
        "Exponents k of cost ~ size^k, with a 95 % interval of how well a power law describes the points.",
        "",
    )
    rows = []
    for record in records:
        for what, costs in record["exponents"].items():
            for cost, (exponent, low, high) in costs.items():
                rows.append([record["model"], what, cost, f"{exponent:.2f} [{low:.2f}, {high:.2f}]"])
        rows.append([record["model"], "sampling over side", "steps", steps_in_words(record["steps"])])
    yield from _table(["model", "what", "cost", "exponent"], 3, rows)
    yield ""


def _precision(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "## What bfloat16 costs",
        "",
        "Bits/dim of validation images, in float32, after equally many steps, all else equal.",
        "",
    )
    columns = ["system", "dataset", "steps", "float32", "bfloat16", "difference"]
    yield from _table(columns, 2, map(_difference, rows))
    yield from ("", "![Validation bits/dim over the steps, in both precisions](precision.png)", "")


def _difference(row: dict[str, Any]) -> list[str]:
    low, full = row["bfloat16"], row["float32"]
    return [
        row["system"],
        row["dataset"],
        str(row["step"]),
        f"{full:.4f}",
        f"{low:.4f}",
        f"{low - full:+.4f}",
    ]


def _machines(records: list[dict[str, Any]]) -> Iterator[str]:
    machines: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        machines.setdefault((record["machine"]["device"], record["machine"]["torch"]), []).append(record)
    yield from (_machine(own) for own in machines.values())


def _machine(records: list[dict[str, Any]]) -> str:
    facts = records[0]["machine"]
    text = f"Measured on {facts['device']}, torch {facts['torch']}; a large product:"
    for kind in records[0]["matmul_flops"]:
        rates = [record["matmul_flops"][kind] / 1e9 for record in records if kind in record["matmul_flops"]]
        text += f" {min(rates):.0f} to {max(rates):.0f} GFLOP/s in {kind},"
    far = [r["bits_per_dim_from_authors"] for r in records if "bits_per_dim_from_authors" in r]
    end = f" The authors' code and ours differ by {max(far):.1g} bits/dim at most." if far else ""
    return f"{text.removesuffix(',')}.{end}"


def _megabytes(value: float | None) -> str:
    return f"{value:.0f}" if value else ""


def _number(value: float | None, factor: float = 1.0) -> str:
    return "" if value is None else f"{value * factor:.2f}"


def steps_in_words(steps: dict[str, float]) -> str:
    """Return the line on which the steps lie, or that they lie on none."""
    if steps["farthest"] > 1:
        return "the steps do not lie on a line"
    return f"{steps['slope']:g} N {steps['offset']:+g} steps"
