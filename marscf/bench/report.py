"""What was measured, to read: `README.md` in the benchmarks' folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from marscf.files import read_json, replacing

WORKS = ("training", "evaluation", "sampling")


def write_report(folder: Path) -> Path:
    """Write `folder/README.md` from the `.json` files of `marscf bench` that lie there."""
    records = {path.stem: read_json(path) for path in sorted(folder.glob("*-*.json"))}
    speeds = [records[name] for work in WORKS for name in records if name.startswith(f"{work}-")]
    systems = {path.stem: read_json(path) for path in sorted(folder.glob("systems/*-*.json"))}
    growths = [
        record
        for name, record in (records | systems).items()
        if name.startswith("growth-") and "model" in record
    ]
    beside = [systems[name] for work in WORKS for name in systems if name.startswith(f"{work}-")]
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
        "| work | implementation | images/s | ×reference | ×authors | floor | kept, MB | launches |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    )
    for record in records:
        for row in record["rows"]:
            cells = [
                _title(row),
                row["implementation"],
                f"{row['images_per_second']:.2f}",
                f"{row['speed_over_reference']:.2f}",
                _number(row["speed_over_authors"]),
                _number(row["speed_over_authors"], 1 / row["share_of_matmul_rate"]),
                f"{row['kept_megabytes']:.0f}" if row["kept_megabytes"] else "",
                str(row["launches"] or ""),
            ]
            yield f"| {' | '.join(cells)} |"
    yield from ("", *_machines(records), "")


def _profiles(records: list[dict[str, Any]]) -> Iterator[str]:
    kinds = list(next(iter(records[0]["profile"].values())))
    yield from (
        "## Where the time goes",
        "",
        f"| work | implementation | {' | '.join(kinds)} |",
        f"|---|---|{'--:|' * len(kinds)}",
    )
    for record in records:
        for name, shares in record["profile"].items():
            parts = " | ".join(f"{share:.0%}" for share in shares.values())
            yield f"| {_title(record['rows'][0])} | {name} | {parts} |"
    yield ""


def _systems(records: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each system and kind of work; with a peer's, where one was measured beside it."""
    yield from (
        "## All systems, beside other public codes",
        "",
        "Of equal architecture, in turn in one process, float32; medians. ×peer: times as fast as theirs.",
        "Products: the share of time in convolutions and matrix products. Peak: memory of a training step.",
        "",
        "| work | system | batch | parameters, M | images/s | ×peer | products | peer's | peak, MB | peer |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    )
    for record in records:
        rows = {row["implementation"]: row for row in record["rows"]}
        ours, peer = rows["ours"], rows.get("peer")
        both = ("ours", "peer") if peer else ("ours",)
        products = [_products(record["profile"][name]) for name in both] + [""] * (not peer)
        trains = ours["work"] == "training"
        peaks = [_whole(trains and rows[name]["peak_megabytes"]) for name in both] + [""] * (not peer)
        cells = [
            f"{ours['work']}, {ours['shape']}",
            f"{ours['system']}, {record['scale']}",
            str(ours["batch_size"]),
            f"{ours['parameters'] / 1e6:.3g}",
            f"{ours['images_per_second']:.3g}",
            _number(ours["times_as_fast_as_peer"]),
            *products,
            *peaks,
        ]
        yield f"| {' | '.join(cells)} |"
    yield from ("", *_machines(records), "")


def _products(shares: dict[str, float]) -> str:
    return f"{shares['convolutions'] + shares['matrix products']:.0%}"


def _whole(value: float | None) -> str:
    return f"{value:.0f}" if value else ""


def _growth(records: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "## How the cost grows",
        "",
        "Exponents k of cost ~ size^k, with a 95 % interval of how well a power law describes the points.",
        "",
        "| model | what | cost | exponent |",
        "|---|---|---|--:|",
    )
    for record in records:
        model = record["model"]
        for what, costs in record["exponents"].items():
            for cost, (exponent, low, high) in costs.items():
                yield f"| {model} | {what} | {cost} | {exponent:.2f} [{low:.2f}, {high:.2f}] |"
        yield f"| {model} | sampling over side | steps | {steps_in_words(record['steps'])} |"
    yield ""


def _precision(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "## What bfloat16 costs",
        "",
        "Bits/dim of validation images, in float32, after equally many steps, all else equal.",
        "",
        "| system | dataset | steps | float32 | bfloat16 | difference |",
        "|---|---|--:|--:|--:|--:|",
    )
    for row in rows:
        low, full = row["bfloat16"], row["float32"]
        cells = (
            row["system"],
            row["dataset"],
            row["step"],
            f"{full:.4f}",
            f"{low:.4f}",
            f"{low - full:+.4f}",
        )
        yield f"| {' | '.join(map(str, cells))} |"
    yield from ("", "![Validation bits/dim over the steps, in both precisions](precision.png)", "")


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


def _number(value: float | None, factor: float = 1.0) -> str:
    return "" if value is None else f"{value * factor:.2f}"


def steps_in_words(steps: dict[str, float]) -> str:
    """Return the line on which the steps lie, or that they lie on none."""
    if steps["farthest"] > 1:
        return "the steps do not lie on a line"
    return f"{steps['slope']:g} N {steps['offset']:+g} steps"
