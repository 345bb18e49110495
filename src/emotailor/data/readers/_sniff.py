"""What a file really is, by its first bytes, whatever its name says."""

import struct
import zipfile
from pathlib import Path

from emotailor.errors import DataError

_HEAD = 1024
"""Bytes that are enough to tell."""

LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""What a torch file before the zip format begins with: its magic number, pickled."""

_MAGIC = (
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (LEGACY_TORCH, "torch"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x93NUMPY", "npy"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf'\x1c", "7z"),
    (b"Rar!", "rar"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"RIFF", "a RIFF file (WAV, AVI)"),
    (b"\x1aE\xdf\xa3", "a Matroska file"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"MATLAB 5.0", "a MATLAB file"),
)
_COMPRESSED = {"gzip", "bzip2", "xz", "7z", "rar", "zstd", "tar"}
_TAR = slice(257, 262)


def kind_of(path: Path) -> str:
    """Say what a file is: ``HDF5``, ``zip``, ``torch``, ``npy``, ``pickle``, ``text``, or in words.

    ``zip`` may be a torch file, a ``.npz`` or a spreadsheet; only its contents tell.
    """
    head = first_bytes(path)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        return "an MP4 video"
    if head[_TAR] == b"ustar":
        return "tar"

    # a byte order mark of UTF-16 is text, though it is full of zero bytes
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text"

    # protocol 2 and later say so; the oldest is text, and read as such
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    return "binary" if b"\0" in head else "text"


def holds_pickle(path: Path) -> bool:
    """Say whether a file is one of torch, in its zip format or the older one."""
    kind = kind_of(path)
    if kind != "zip":
        return kind == "torch"

    # torch.save puts everything into one folder, with a name of its choice
    return any(name.split("/", 1)[-1] == "data.pkl" for name in _names_in_zip(path))


def first_bytes(path: Path) -> bytes:
    """Return the beginning of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"{path} cannot be read: {reason}", expected="a file that may be read"
        ) from error


def refuse_stand_in(path: Path) -> None:
    """Refuse what is often saved under the name of a data file in its place.

    Raises:
        DataError: a pointer of Git LFS or git-annex, a web page, or a compressed file.
    """
    head = first_bytes(path)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()

    if text.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{path} is a pointer of Git LFS, not the file",
            expected="the file that it points to",
            fix="run `git lfs pull` in its repository, or download the file itself",
        )
    if text.startswith(b"/annex/objects/") or b".git/annex/objects" in text:
        raise DataError(
            f"{path} is a pointer of git-annex, not the file",
            expected="the file that it points to",
            fix="run `git annex get` on it",
        )

    if text.startswith((b"<!doctype", b"<html", b"<head", b"<script")):
        raise _web_page(path)
    if text.startswith(b"<?xml") and b"<error>" in text:
        raise DataError(
            f"{path} is an error message of a web server, not the file",
            expected="the file",
            fix="download it again, with the rights that it needs",
        )

    kind = kind_of(path)
    if kind in _COMPRESSED:
        raise DataError(
            f"{path} is compressed ({kind})", expected="the file itself", fix="unpack it first"
        )
    if kind == "zip":
        _refuse_archive(path)


def _refuse_archive(path: Path) -> None:
    """Refuse a zip that holds files as people have them, and is none of torch, NumPy or Office."""
    names = _names_in_zip(path)
    of_numpy = all(name.endswith(".npy") for name in names)
    of_office = any(name.startswith(("[Content_Types]", "xl/", "mimetype")) for name in names)
    if not names or holds_pickle(path) or of_numpy or of_office:
        return

    listed = ", ".join(names[:3])[:200]
    raise DataError(
        f"{path} is a zip archive of {listed}", expected="the file itself", fix="unpack it first"
    )


def _names_in_zip(path: Path) -> list[str]:
    """Return what a zip holds; nothing where it is damaged: whoever reads it will say so."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        return []


def _web_page(path: Path) -> DataError:
    with path.open("rb") as file:
        page = file.read(100_000).lower()

    fix = "open the address in a browser, and save the file that it leads to"
    found = f"{path} is a web page, not the file"
    if b"virus" in page and b"google" in page:
        found = f"{path} is Google Drive's page about its scan for viruses, not the file"
        fix = "confirm the download in a browser, or use a program such as gdown"
    return DataError(found, expected="the file itself", fix=fix)
