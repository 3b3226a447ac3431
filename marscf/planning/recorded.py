"""The speed of a machine that is not here, from the records of `marscf bench`.

A rate is floating-point operations per second, as recorded for a system (`--system`), or for one coupling,
precision and size. A model without records has the lowest rate of the others. The plan names each record.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marscf.bench.report import OURS
from marscf.errors import ConfigError
from marscf.files import read_json
from marscf.settings import TrainingSettings

ROOT = Path("reports/bench")
LIKE = "evaluation"  # whose rate stands in where a kind of work has no record
PLAIN = "float32"  # the implementation that every machine has records of


@dataclass(frozen=True)
class Rate:
    """Floating-point operations a second, and what they were recorded for."""

    flops: float
    of: str


@dataclass(frozen=True)
class Recorded:
    """All records of one machine."""

    device: str
    rows: tuple[dict[str, Any], ...]

    def training(
        self, system: str, coupling: str | None, replayable: bool, settings: TrainingSettings
    ) -> Rate:
        """Return the rate of training."""
        return self._rate("training", system, coupling, replayable, settings.precision, settings.compile)

    def work(self, kind: str, system: str, coupling: str | None, replayable: bool) -> Rate:
        """Return the rate of `evaluation` or `sampling`."""
        return self._rate(kind, system, coupling, replayable, "float32", compiled=False)

    def _rate(
        self, work: str, system: str, coupling: str | None, replayable: bool, precision: str, compiled: bool
    ) -> Rate:
        own = [row for row in self.rows if row.get("system") == system and row["work"] == work]
        if own and precision == "float32":
            return _slowest(own)
        name = precision + " compiled" * compiled + " graph" * replayable
        for kind, implementation, of in (
            *((work, name, coupling), (LIKE, name, coupling), (work, name, None)),
            *((work, PLAIN, coupling), (LIKE, PLAIN, coupling), (work, PLAIN, None), (LIKE, PLAIN, None)),
        ):
            if rows := self._of(kind, implementation, of):
                return _slowest(rows)
        raise ConfigError(f"{ROOT}: no record of {work} on {self.device}; marscf bench {work} makes one")

    def _of(self, work: str, name: str, coupling: str | None) -> list[dict[str, Any]]:
        return [
            row
            for row in self.rows
            if "system" not in row
            and row["work"] == work
            and row["implementation"] == name
            and coupling in (None, row["coupling"])
        ]


def _slowest(rows: list[dict[str, Any]]) -> Rate:
    return min((_rate_of(row) for row in rows), key=lambda rate: rate.flops)


def _rate_of(row: dict[str, Any]) -> Rate:
    if "system" in row:
        of = f"{row['work']}, {row['system']} with {row['parameters']:,} parameters"
    else:
        of = f"{row['work']}, {row['coupling']} {row['steps']}×{row['channels']}, {row['implementation']}"
    return Rate(1e9 * row["gigaflop"] / row["median_seconds"], of)


def _rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that are of our code; a system's record has its operations beside them."""
    if "gigaflop" not in record:
        return list(record["rows"])
    return [row | {"gigaflop": record["gigaflop"]} for row in record["rows"] if row["implementation"] == OURS]


def find(name: str, root: Path = ROOT) -> Recorded:
    """Return the records of the machine whose name has `name` in it; raises `ConfigError` for none."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(root.rglob("*-*.json")):
        record = read_json(path)
        if "rows" in record and all("implementation" in row for row in record["rows"]):
            rows.setdefault(record["machine"]["device"], []).extend(_rows(record))
    for device, own in rows.items():
        if name.casefold() in device.casefold():
            return Recorded(device, tuple(own))
    known = ", ".join(rows) or "none"
    raise ConfigError(f"--device {name}: it is not here, and {root} has no record of it (known: {known})")
