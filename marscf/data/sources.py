"""Where a dataset's source files come from: a mirror, the download folder, or their publishers."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marscf.config import Dataset, Source
from marscf.data import arrays
from marscf.data.download import Expected, download
from marscf.data.untrusted import formats, own, unpack
from marscf.errors import ConfigError, DataError, nearest
from marscf.files import locked, sha256_file
from marscf.runs import DATASETS

LOCAL = ("file", "local", "memory")  # fsspec's protocols that open no socket


@dataclass(frozen=True)
class Found:
    """A source file on this machine."""

    path: Path
    sha256: str
    published: str | None  # the checksum its publisher states
    verified: bool  # it has that checksum
    notes: tuple[str, ...] = ()  # which files of the user's own were left out or taken in, with counts

    def provenance(self) -> dict[str, Any]:
        """What the manifest says about it; the same wherever it came from."""
        said = {"notes": list(self.notes)} if self.notes else {}
        return {"file": self.path.name, "sha256": self.sha256, "published_checksum": self.published, **said}


@dataclass(frozen=True)
class Store:
    """Where files are looked for: a local mirror, the download folder, a remote mirror, the publishers."""

    downloads: Path
    mirror: str | None = None
    offline: bool = False

    def obtain(self, dataset: Dataset, release: str | None = None) -> dict[str, Found]:
        """Return all source files of a dataset; raises `DataError` naming one that is missing.

        Of several releases the one asked for is taken, else the first whose files are at hand, else the
        first.
        """
        if dataset.own:
            return own_files(dataset)
        formats.check_sources(dataset)
        if not dataset.releases:
            if release:
                raise ConfigError(f"--release: {dataset.name} has no releases; leave it out")
            return {name: self.find(_folder(dataset), source) for name, source in dataset.sources.items()}
        if release and release not in dataset.releases:
            raise ConfigError(f"--release: unknown {release!r}{nearest(release, dataset.releases)}")
        at_hand = [
            name
            for name, candidate in dataset.releases.items()
            if all(self.at_hand(_folder(dataset), source) for source in candidate.sources.values())
        ]
        chosen = release or next(iter([*at_hand, *dataset.releases]))
        where, sources = dataset.releases[chosen].where, dataset.releases[chosen].sources
        return {name: self.find(_folder(dataset), source, where) for name, source in sources.items()}

    def at_hand(self, folder: str, source: Source) -> Path | None:
        """The file, where it is on this machine already."""
        roots = [self._local_mirror(), self.downloads]
        paths = [root / folder / source.file for root in roots if root is not None]
        return next((path for path in paths if path.is_file()), None)

    def find(self, folder: str, source: Source, where: str = "") -> Found:
        """Return one source file, MIRROR/FOLDER/<file>; raises `DataError`, with `where` to have it from."""
        algorithm, published = ("sha256", source.sha256) if source.sha256 else ("md5", source.md5)
        if not (path := self.at_hand(folder, source)):
            expected = Expected(algorithm, published, source.bytes)
            path = self._fetch(folder, source, expected, where)
        try:
            sha256 = sha256_file(path)
            with open(path, "rb") as stream:
                own = sha256 if source.sha256 else hashlib.file_digest(stream, "md5").hexdigest()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}; replace it") from None
        stated = f"{algorithm}:{published}" if published else None
        return Found(path, sha256, stated, own == published)

    def _fetch(self, folder: str, source: Source, expected: Expected, where: str) -> Path:
        target = self.downloads / folder / source.file
        advice = f"put it at {target}, or name its mirror with --mirror"
        if local := self._local_mirror():
            missing = local / folder / source.file
            raise DataError(f"no file {missing}; put it there" + (f": {where}" if where else ""))
        if self.offline and not (self.mirror and _protocol(self.mirror) in LOCAL):
            raise DataError(f"no file {target}, and --offline forbids to download it; {advice}")
        if not self.mirror and not source.urls:
            raise DataError(
                f"{source.file} of {folder} has no public download ({where or 'none is known'}); {advice}"
            )
        with locked(target.parent):
            if not target.is_file():  # else another process fetched it meanwhile
                if self.mirror:  # its content is judged when decoded
                    address = f"{self.mirror.rstrip('/')}/{folder}/{source.file}"
                    download([address], target, Expected(bytes=None))
                else:
                    download(source.urls, target, expected)
        return target

    def _local_mirror(self) -> Path | None:
        if not self.mirror or ("://" in self.mirror and not self.mirror.startswith("file://")):
            return None
        return Path(self.mirror.removeprefix("file://"))


def _folder(dataset: Dataset) -> str:
    """The folder of a dataset's files in a mirror."""
    return dataset.mirror_name or dataset.name


def own_paths(dataset: Dataset) -> dict[str, Path]:
    """Where the user's own images are, by the dataset's options; raises `DataError` where there are none."""
    place, options = f"datasets/{dataset.name}.yaml: options", dataset.options
    if not options.path:
        raise ConfigError(f"datasets/{dataset.name}.yaml: format {dataset.format} needs options.path")
    found = {}
    for name, given in (("path", options.path), ("test_path", options.test_path)):
        if not given:
            continue
        try:
            path = Path(given).expanduser()
            there = path.is_dir() if dataset.format == "folder" else path.is_file()
        except (OSError, RuntimeError) as error:  # ~ of nobody; a folder that may not be entered
            raise DataError(f"{place}.{name}: {given}: {error}; correct it") from None
        if not there:
            raise DataError(f"{place}.{name}: no such {dataset.format} {path}; correct it")
        found[name] = path
    return found


def own_files(dataset: Dataset) -> dict[str, Found]:
    """The user's own images, hashed: the very files that the parser reads."""
    paths = own_paths(dataset)
    if dataset.format != "folder":
        return {name: Found(path, _sha256(path), None, True) for name, path in paths.items()}
    parts = own.folder_parts(paths)
    notes = {"path": tuple(own.notes(paths, parts))}
    return {
        name: Found(path, _content(path, parts, name), None, True, notes.get(name, ()))
        for name, path in paths.items()
    }


def own_digests(dataset: Dataset) -> dict[str, str] | None:
    """The digests of the user's own images; None for other datasets, and where the images are elsewhere."""
    path = os.path.expanduser(dataset.options.path or "")
    if not dataset.own or not os.path.exists(path):
        return None
    return {name: source.sha256 for name, source in own_files(dataset).items()}


def source_digests(dataset: Dataset, root: Path = DATASETS) -> dict[str, str] | None:
    """The same, but where the images are elsewhere those that were prepared: they stand, as after a pull."""
    now = own_digests(dataset)
    if now is not None or not dataset.own:
        return now
    try:
        sources = arrays.read_manifest(dataset.name, root)["sources"]
    except DataError:
        return None
    return {name: source["sha256"] for name, source in sources.items()}


def _content(root: Path, parts: list[own.Part], source: str) -> str:
    """SHA-256 of the names and contents of a source's images."""
    whole = hashlib.sha256()
    for image in (image for part in parts if part.source == source for image in part.folder.images):
        whole.update(os.fsencode(image.relative_to(root).as_posix()) + f"\0{_sha256(image)}\n".encode())
    return whole.hexdigest()


def _sha256(path: Path) -> str:
    with unpack.damage(path):
        return sha256_file(path)


def _protocol(address: str) -> str:
    return address.partition("://")[0].partition("::")[0]
