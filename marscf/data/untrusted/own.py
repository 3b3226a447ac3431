"""The user's own images: which files of their folders are read. Freshness check and parser both ask here."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from marscf.data.untrusted.unpack import damage
from marscf.errors import DataError

IMAGES = {".png": ("PNG",), ".jpg": ("JPEG",), ".jpeg": ("JPEG",)}  # suffix -> Pillow's formats
SPLITS = ("train", "test")  # subfolders that are the splits, where both are there


@dataclass
class Folder:
    """The images of a folder and its subfolders, sorted; links are followed, a folder is read once.

    `notes` says, with counts, what was left out, and what was taken in through links.
    """

    root: Path
    images: list[Path] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._walk(self.root, through_link=False)

    def _walk(self, folder: Path, through_link: bool) -> None:
        with damage(folder):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in self._seen:
                self.notes["folders met again through a link left out"] += 1
                return
            self._seen.add((status.st_dev, status.st_ino))
            for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
                self._take(entry, through_link or entry.is_symlink())

    def _take(self, entry: os.DirEntry[str], through_link: bool) -> None:
        path = Path(entry.path)
        if entry.name.startswith("."):
            self.notes["hidden files or folders left out"] += 1
        elif entry.is_dir():
            self._walk(path, through_link)
        elif not entry.is_file():
            self.notes["broken links or special files left out"] += 1
        elif path.suffix.lower() not in IMAGES:
            self.notes[f"{path.suffix or 'other'} files left out: only {', '.join(IMAGES)} are read"] += 1
        else:
            self.images.append(path)
            self.notes["images taken in through links"] += through_link


@dataclass(frozen=True)
class Part:
    """One source's images of one split: "train" or "test", or "all" where test images are split off."""

    source: str
    split: str
    folder: Folder


def folder_parts(files: Mapping[str, Path]) -> list[Part]:
    """Return what is read of a dataset of format folder, whose sources are `path` and maybe `test_path`.

    Subfolders `train` and `test` of `path` are the splits, where both are there and there is no `test_path`.
    Raises `DataError` where a part has no images, or two places claim the test images.
    """
    root = files["path"]
    has_splits = all((root / split).is_dir() for split in SPLITS)
    if "test_path" in files:
        if has_splits:
            raise DataError(f"{root} has the folders train and test; leave out options.test_path")
        found = [("path", "train", root), ("test_path", "test", files["test_path"])]
    elif has_splits:
        found = [("path", split, root / split) for split in SPLITS]
    else:
        found = [("path", "all", root)]
    parts = [Part(source, split, Folder(folder)) for source, split, folder in found]
    for part in parts:
        if not part.folder.images:
            raise DataError(
                f"no images ({', '.join(IMAGES)}) in {part.folder.root}; correct options.{part.source}"
            )
    return parts


def notes(files: Mapping[str, Path], parts: list[Part]) -> list[str]:
    """Return what is to be said about a dataset of format folder, a line each: what was left out, and why."""
    total = sum((part.folder.notes for part in parts), Counter())
    lines = [f"{count:,} {words}" for words, count in sorted(total.items()) if count]
    if [part.split for part in parts] == list(SPLITS) and "test_path" not in files:
        beside = sum(1 for _ in _beside(files["path"]))
        lines += [f"{beside:,} files or folders beside train and test left out"] * (beside > 0)
    return lines


def _beside(root: Path) -> Iterator[Path]:
    with damage(root):
        yield from (path for path in root.iterdir() if path.name not in SPLITS and path.name[0] != ".")
