"""What an importer finds in a checkpoint of a public code."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """The run that a checkpoint is: its dataset, system, model with options, and the shape (C, H, W) of images."""

    dataset: str
    system: str
    model: str
    shape: tuple[int, int, int]
    options: dict[str, Any]
