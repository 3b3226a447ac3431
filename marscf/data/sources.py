"""Where a dataset's source files come from: a mirror, the download folder, or their publishers."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marscf.config import Dataset, Source
from marscf.data.download import Expected, download
from marscf.data.untrusted import formats
from marscf.errors import ConfigError, DataError, nearest
from marscf.files import locked, sha256_file

LOCAL = ("file", "local", "memory")  # fsspec's protocols that open no socket


@dataclass(frozen=True)
class Found:
    """A source file on this machine."""

    path: Path
    sha256: str
    published: str | None  # the checksum its publisher states
    verified: bool  # it has that checksum

    def provenance(self) -> dict[str, Any]:
        """What the manifest says about it; the same wherever it came from."""
        return {"file": self.path.name, "sha256": self.sha256, "published_checksum": self.published}


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
        if dataset.format in formats.OWN:
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


def own_files(dataset: Dataset) -> dict[str, Found]:
    """The user's own images, named by the dataset's options."""
    options = {"path": dataset.options.path, "test_path": dataset.options.test_path}
    if not options["path"]:
        raise ConfigError(f"datasets/{dataset.name}.yaml: format {dataset.format} needs options.path")
    found = {}
    for name, given in options.items():
        if not given:
            continue
        path = Path(given).expanduser()
        if not (path.is_dir() if dataset.format == "folder" else path.is_file()):
            raise DataError(
                f"datasets/{dataset.name}.yaml: options.{name}: no such {dataset.format} {path}; correct it"
            )
        found[name] = Found(path, _content(path), None, True)
    return found


def _content(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the images in a folder."""
    if path.is_file():
        return sha256_file(path)
    whole = hashlib.sha256()
    for image in formats.image_files(path):
        whole.update(f"{image.relative_to(path).as_posix()}\0{sha256_file(image)}\n".encode())
    return whole.hexdigest()


def _protocol(address: str) -> str:
    return address.partition("://")[0].partition("::")[0]
