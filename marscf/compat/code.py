"""A checkpoint of a public code, and what its importer finds in it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marscf.models.base import DensityModel


@dataclass(frozen=True)
class Foreign:
    """A file of weights that another code wrote.

    Attributes:
        path: the file.
        code: the code, a name in `marscf.compat.importing.CODES`.
        name: the file's name as it was published; the path's where not given.
        hparams: a JSON file of hyper-parameters, where the code writes one.
        seed: tells several checkpoints of one system and dataset apart.
    """

    path: Path
    code: str
    name: str | None = None
    hparams: Path | None = None
    seed: int = 0

    @property
    def published_name(self) -> str:
        """The file's name as it was published."""
        return self.name or self.path.name


def plain(value: object) -> str:
    """A value of a foreign file as an error shows it; nothing else of it, for it can unfold for ever."""
    return (
        f"{value!r:.50}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__:.50}"
    )


@dataclass(frozen=True)
class Found:
    """The run that a checkpoint is: dataset, system, model with options, shape (C, H, W) of the images."""

    dataset: str
    system: str
    model: str
    shape: tuple[int, int, int]
    options: dict[str, Any]


@dataclass(frozen=True)
class OwnProtocol:
    """How a public code evaluates a checkpoint of its own, where that is not how we do.

    It takes one draw of the noise per image.

    Attributes:
        words: what is different, for the measurement's protocol.
        batch_size: images per batch; of a whole test set, a last smaller batch is left out. None: all are
            scored.
        prepare: changes a model in eval mode into what is scored. None: it is scored as it is.
    """

    words: str
    batch_size: int | None = None
    prepare: "Callable[[DensityModel], object] | None" = None
