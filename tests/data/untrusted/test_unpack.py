"""Archives that would leave their folder, follow links, or fill the memory."""

import io
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from tiny_sources import png_bytes, random_images, tar_bytes

from marscf.data.untrusted import unpack
from marscf.errors import DataError


def tar_with(**attributes):
    stream, info = io.BytesIO(), tarfile.TarInfo("a")
    for name, value in attributes.items():
        setattr(info, name, value)
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(info)
    return stream.getvalue()


def members(content, largest=1000):
    return list(unpack.read_tar(io.BytesIO(content), "x.tar", largest))


def test_members_are_those_of_tarfile():
    given = [("a/b", b"123"), ("a/c", b""), ("d", bytes(range(256)) * 4)]
    for layout in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=layout) as tar:
            for name, content in given:
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(content), 1.5
                tar.addfile(info, io.BytesIO(content))
            folder = tarfile.TarInfo("a")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
        assert members(stream.getvalue(), 2000) == given


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"name": "../../etc/passwd"}, "unsafe member name"),
        ({"name": "/etc/passwd"}, "unsafe member name"),
        ({"name": "a\\..\\..\\b"}, "unsafe member name"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "link or device"),
        ({"type": tarfile.LNKTYPE, "linkname": "b"}, "link or device"),
        ({"type": tarfile.FIFOTYPE}, "link or device"),
        ({"type": tarfile.CHRTYPE}, "link or device"),
    ],
)
def test_unsafe_members_are_refused(attributes, words):
    with pytest.raises(DataError, match=words):
        members(tar_with(**attributes))


def test_sizes_are_not_believed():
    with pytest.raises(DataError, match=r"more than is plausible"):
        members(tar_bytes([("a", bytes(1001))]))
    with pytest.raises(DataError, match=r"more than is plausible"):
        list(unpack.read_tar(io.BytesIO(tar_bytes([("a", bytes(900))] * 9)), "x.tar", 1000, total=5000))
    with pytest.raises(DataError, match=r"truncated"):
        members(tar_bytes([("a", bytes(900))])[:1000])
    with pytest.raises(DataError, match=r"after the archive's end"):
        members(tar_bytes([("a", b"")]) + b"x" * 512)


def zip_bytes(entries, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream


def test_zip_is_read_by_suffix_and_checked():
    stream = zip_bytes([("a.npz", b"123"), ("b.txt", b"4")], compression=zipfile.ZIP_DEFLATED)
    assert [(name, file.read()) for name, file in unpack.read_zip(stream, "z", ".npz")] == [("a.npz", b"123")]
    for entries, options, words in (
        ([("../a.npz", b"")], {}, "unsafe"),
        ([("a.npz", b"1")], {"compression": zipfile.ZIP_LZMA}, "unusual compression"),
    ):
        with pytest.raises(DataError, match=words):
            list(unpack.read_zip(zip_bytes(entries, **options), "z", ".npz"))
    flipped = bytearray(zip_bytes([("a.npz", b"1" * 100)]).getvalue())
    flipped[80] ^= 1
    with pytest.raises(DataError, match=r"CRC"):
        list(unpack.read_zip(io.BytesIO(flipped), "z", ".npz"))


def test_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(unpack, "LARGEST_ZIP", 1 << 20)
    bomb = zip_bytes([("a.npz", bytes(1 << 21))], compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"unpacks to more than"):
        list(unpack.read_zip(bomb, "z", ".npz"))


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def test_png_text_never_reaches_the_decoder():
    image = random_images(1, (3, 4, 4))[0]
    plain = png_bytes(image)
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 24)))
    assert np.array_equal(unpack.read_png(plain[:33] + bomb + plain[33:], "p", 3), image)


def test_png_bomb_is_refused_by_its_header():
    header = chunk(b"IHDR", (1 << 30).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0]))
    with pytest.raises(DataError, match=r"claims 1073741824×1073741824 pixels"):
        unpack.read_png(unpack.PNG_SIGNATURE + header + chunk(b"IEND", b""), "p", 3)


def test_every_cut_png_is_refused():
    whole = png_bytes(random_images(1, (3, 4, 4))[0])
    for end in range(len(whole)):
        with pytest.raises(DataError):
            unpack.read_png(whole[:end], "p", 3)
    with pytest.raises(DataError, match=r"follow its end"):
        unpack.read_png(whole + b"\0", "p", 3)
