"""Unpacking without trust: nothing is written by its name, no link is followed, no size is believed.

Members are streamed, one at a time, to whoever reads them; whatever is damaged, unsafe or too large ends in
`DataError` naming the archive.
"""

import ast
import gzip
import io
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, BinaryIO, Protocol

import numpy as np

from marscf.errors import DataError
from marscf.files import open_regular


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most `size` of them."""


BLOCK = 512  # bytes, of a tar archive
LARGEST_IMAGE = 1 << 24  # bytes of a PNG file
LARGEST_SIDE = 4096  # pixels
LARGEST_ZIP = 1 << 33  # bytes of all members of a zip archive
LARGEST_DIRECTORY = 1 << 23  # bytes of the list of its members, which is read at once
ORIENTATION = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # PNG texts that may hold it
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    SyntaxError,
    RuntimeError,  # zipfile: an encrypted member; NotImplementedError: an unknown compression
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def damage(place: object) -> Iterator[None]:
    """Turn what libraries raise on damaged bytes into a `DataError` that names `place`."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.strerror:  # of the disk, not of the content
            raise DataError(f"cannot read {place}: {error.strerror}; make it readable") from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{place} is damaged or of another format ({reason}); replace it") from None


@contextmanager
def open_gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a gzip file for streaming."""
    with damage(path), gzip.open(path, "rb") as stream:
        yield stream


def read_exactly(stream: Readable, count: int, place: object) -> bytes:
    """Read `count` bytes; raises `DataError` where the stream ends before."""
    content = stream.read(count)
    while len(content) < count and (more := stream.read(count - len(content))):
        content += more
    if len(content) != count:
        raise DataError(f"{place} is truncated: {count:,} bytes expected, {len(content):,} left; replace it")
    return content


def expect_end(stream: Readable, place: object) -> None:
    """Raise `DataError` where a stream goes on after all that its header promises."""
    if stream.read(1):
        raise DataError(f"{place} continues after what its header promises; replace it")


def read_tar(
    stream: Readable, place: object, largest: int, total: int = 1 << 40
) -> Iterator[tuple[str, bytes]]:
    """Yield `(name, content)` of the regular files of a tar archive, in its order.

    Ours, because tarfile follows links, sets no limit to sizes, and ignores the padding and what comes after
    the end. Members over `largest` bytes and archives over `total` bytes are refused. So are links, devices,
    and names that are absolute or climb. Header checksums and zero padding are checked.
    """
    read = 0
    while True:
        header = read_exactly(stream, BLOCK, place)
        if not any(header):
            while block := stream.read(BLOCK):  # the end: nothing but zeros may follow
                read += len(block)
                if any(block) or read > total:
                    raise DataError(f"{place}: data after the archive's end; replace it")
            return
        name, kind, size = _tar_header(header, place)
        padded = -(-size // BLOCK) * BLOCK
        read += BLOCK + padded
        if size > largest or read > total:
            raise DataError(f"{place}: {name!r} claims {size:,} bytes, more than is plausible; replace it")
        content = read_exactly(stream, padded, place)
        if any(content[size:]):
            raise DataError(f"{place}: altered after {name!r} (padding is not zero); replace it")
        if kind == b"0":
            yield name, content[:size]


def _tar_header(header: bytes, place: object) -> tuple[str, bytes, int]:
    try:
        checksum = int(header[148:156].strip(b" \0") or b"x", 8)
        size = int(header[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        raise DataError(f"{place} is damaged or no tar archive; replace it") from None
    if checksum != sum(header) - sum(header[148:156]) + 8 * 32 or size < 0:
        raise DataError(f"{place}: a tar header's checksum is wrong; replace it")
    name = header[:100].split(b"\0")[0].decode("utf-8", "replace")
    kind = header[156:157].replace(b"\0", b"0").replace(b"7", b"0")
    if kind not in (b"0", b"5", b"x", b"g", b"L"):  # files, folders and notes about them
        raise DataError(f"{place}: {name!r} is a link or device; such members are refused")
    check_name(name, place)
    return name, kind, size


def check_name(name: str, place: object) -> None:
    """Raise `DataError` for a name that leads out of a folder."""
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        raise DataError(f"{place}: unsafe member name {name!r}; such archives are refused")


def read_zip(path: Path | BinaryIO, place: object, suffix: str) -> Iterator[tuple[str, BinaryIO]]:
    """Yield `(name, seekable file)` of the members of a zip archive that end in `suffix`, CRC checked.

    By zipfile, which sets no limit to the size of all members together.
    """
    with open_zip(path, place) as archive:
        if sum(info.file_size for info in archive.infolist()) > LARGEST_ZIP:
            raise DataError(f"{place} unpacks to more than {LARGEST_ZIP:,} bytes; replace it")
        for info in archive.infolist():
            check_name(info.filename, place)
            if info.filename.endswith(suffix):
                with tempfile.TemporaryFile() as copy:
                    copy_member(archive, info, copy, place)
                    copy.seek(0)
                    yield info.filename, copy


@contextmanager
def open_zip(path: Path | BinaryIO, place: object) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive whose list of members is of a reasonable size."""
    with damage(place):
        opened = open_regular(path, LARGEST_ZIP) if isinstance(path, Path) else nullcontext(path)
        with opened as stream, zipfile.ZipFile(Parts(stream, LARGEST_DIRECTORY)) as archive:
            yield archive


def copy_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, copy: BinaryIO, place: object) -> None:
    """Write a member's content to a file, CRC checked; raises `DataError` where it is damaged."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{place}: {info.filename!r} has an unusual compression; replace it")
    with damage(f"{place}: {info.filename!r}"), archive.open(info) as member:
        shutil.copyfileobj(member, copy, 1 << 20)  # zipfile stops at file_size and checks the CRC


class Parts:
    """A file as zipfile reads it: nothing larger than `largest` bytes is read at once."""

    def __init__(self, stream: IO[bytes], largest: int):
        self.stream, self.largest = stream, largest
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, count: int = -1) -> bytes:
        """Read some bytes."""
        content = self.stream.read(min(count, self.largest + 1) if count >= 0 else self.largest + 1)
        if len(content) > self.largest:
            raise DataError(f"a part of it is larger than {self.largest >> 20} MiB")
        return content


def read_npy(stream: BinaryIO, place: object) -> tuple[tuple[int, ...], np.dtype]:
    """Read a .npy header, leaving the stream at the data.

    Ours, because numpy takes the memory that a header asks for before it reads.
    """
    with damage(place):
        major, _ = np.lib.format.read_magic(stream)
        length = struct.unpack(
            "<H" if major == 1 else "<I", read_exactly(stream, 2 if major == 1 else 4, place)
        )
        if length[0] > 4096:
            raise DataError(f"{place}: its header is too long; replace it")
        header = ast.literal_eval(read_exactly(stream, length[0], place).decode("latin-1").strip())
        shape, kind = tuple(header["shape"]), header["descr"]
        plain = isinstance(kind, str) and shape and all(type(n) is int for n in shape)
        if header["fortran_order"] or not plain:
            raise DataError(f"{place}: expected a plain C-ordered array; save it with numpy.save")
        dtype = np.dtype(kind)
        if dtype.kind not in "iu" or any(n < 0 for n in shape):
            raise DataError(f"{place}: holds {dtype} {shape}, not unsigned integers")
        return shape, dtype


def read_png(content: bytes, place: object, channels: int) -> np.ndarray:
    """Decode one 8-bit PNG image to uint8 `(C,H,W)`, C being 1 or 3.

    Ours before Pillow's, which does not check the CRC of the pixels, and drops transparency and 16 bits
    silently. Every chunk's CRC is checked, and sizes before anything is decoded; only the chunks that hold
    pixels or may hold an orientation reach the decoder. Transparency and 16 bits are refused.
    """
    if content[:8] != PNG_SIGNATURE:
        raise DataError(f"{place} is no PNG image; replace it")
    kept, at, kind = bytearray(PNG_SIGNATURE), 8, b""
    while kind != b"IEND":
        length = int.from_bytes(content[at : at + 4], "big")
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if (
            end > len(content)
            or zlib.crc32(content[at + 4 : end - 4]).to_bytes(4, "big") != content[end - 4 : end]
        ):
            raise DataError(f"{place} is damaged (chunk {kind!r} at byte {at}); replace it")
        if at == 8:
            if kind != b"IHDR" or length != 13:
                raise DataError(f"{place} is damaged (no header); replace it")
            width, height, depth, colour = struct.unpack(">IIBB", content[16:26])
            if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
                raise DataError(
                    f"{place} claims {width}×{height} pixels; at most {LARGEST_SIDE} per side are read"
                )
            if colour in (4, 6) or depth == 16:
                raise DataError(f"{place} has transparency or 16 bits; save it as 8-bit grey or RGB")
        if kind == b"tRNS":
            raise DataError(f"{place} has transparency; save it as 8-bit grey or RGB")
        tells_orientation = kind == b"eXIf" or content[at + 8 : end].startswith(ORIENTATION)
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or tells_orientation:
            kept += content[at:end]
        at = end
    if at != len(content):
        raise DataError(f"{place}: {len(content) - at} bytes follow its end; replace it")
    return decode_image(io.BytesIO(kept), place, channels, ("PNG",))


def decode_image(stream: BinaryIO, place: object, channels: int, kinds: tuple[str, ...]) -> np.ndarray:
    """Decode an image of one of these Pillow formats to uint8 `(C,H,W)`; a grey one fills three channels.

    It is turned as its EXIF orientation says, as viewers show it.
    """
    from PIL import Image, ImageOps

    try:
        with damage(place), Image.open(stream, formats=kinds) as image:
            if max(image.size) > LARGEST_SIDE:
                raise DataError(f"{place} has {image.size} pixels; at most {LARGEST_SIDE} per side are read")
            if image.mode not in ("1", "L", "P", "RGB"):
                raise DataError(f"{place} has mode {image.mode}; save it as 8-bit grey or RGB")
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(upright.convert("RGB")).transpose(2, 0, 1)
    except Image.DecompressionBombError as error:
        raise DataError(f"{place}: {error}") from None
    if channels == 3:
        return np.ascontiguousarray(pixels)
    if (pixels != pixels[:1]).any():
        raise DataError(f"{place} is coloured, but the dataset's shape has 1 channel; make it 3")
    return np.ascontiguousarray(pixels[:1])
