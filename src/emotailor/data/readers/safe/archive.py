"""Opening zip files that may be forged: every member lies where it says, and is as large."""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from emotailor.data.readers._common import unreadable
from emotailor.errors import DataError

_HEADER = 30  # bytes before the name of a member
_KNOWN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_MEMBERS = 1_000_000
_UNREADABLE = 0x1 | 0x20 | 0x40  # flags: encrypted, patched, encrypted
_CHUNK = 2**20
_LARGE = 2**30
_LARGEST_RATIO = 100


@contextmanager
def open_archive(path: Path, expected: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading and check its table of members.

    Args:
        path: the file.
        expected: what would be right, for messages.

    Raises:
        DataError: it is damaged, two members have one name or share bytes, or a member is packed
            by another method than deflate.
    """
    with unreadable(path, expected):
        archive = zipfile.ZipFile(path)
    with archive:
        members = archive.infolist()
        _check_names(path, members, expected)
        _check_places(path, members, archive.start_dir, expected)
        yield archive


def _check_names(path: Path, members: list[zipfile.ZipInfo], expected: str) -> None:
    if len(members) > _MOST_MEMBERS:
        raise DataError(f"{path} has {len(members)} members", expected=expected)

    seen = set()
    for member in members:
        name = member.filename
        if name in seen:
            raise DataError(f"{path} holds {name[:80]!r} twice", expected=expected)
        seen.add(name)

        if member.flag_bits & _UNREADABLE:
            raise DataError(f"{path}: {name[:80]!r} is encrypted or patched", expected=expected)

        # NumPy and torch use no other, and some can ask for gigabytes to unpack a byte
        if member.compress_type not in _KNOWN:
            raise DataError(
                f"{path}: {name[:80]!r} is packed by method {member.compress_type}",
                expected="members that are stored, or packed by deflate",
            )


def _check_places(path: Path, members: list[zipfile.ZipInfo], end: int, expected: str) -> None:
    """Refuse members that share bytes: a few could be as large as the file each."""
    ordered = sorted(members, key=lambda member: member.header_offset, reverse=True)
    for member in ordered:
        begin = member.header_offset
        least = _HEADER + len(member.filename) + member.compress_size
        stored = member.compress_type == zipfile.ZIP_STORED
        if begin < 0 or begin + least > end:
            raise DataError(
                f"{path}: {member.filename[:80]!r} overlaps what follows it", expected=expected
            )
        if stored and member.file_size != member.compress_size:
            raise DataError(
                f"{path}: {member.filename[:80]!r} has two sizes: {member.file_size} and "
                f"{member.compress_size} bytes",
                expected=expected,
            )
        end = begin


def check_sum(path: Path, expected: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read a member to its end.

    Raises:
        DataError: its bytes are not those that were written.
    """
    with unreadable(path, expected), archive.open(member) as stream:
        while stream.read(_CHUNK):
            pass


def data_offset(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Return where in ``file`` the bytes of a member begin that has been read once already."""
    file.seek(member.header_offset)
    header = file.read(_HEADER)

    # its name and further fields, which can differ from those in the table
    name = int.from_bytes(header[26:28], "little")
    further = int.from_bytes(header[28:30], "little")
    return member.header_offset + _HEADER + name + further


def refuse_bomb(path: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse members that would unpack to far more than features ever do.

    Zeros are packed a thousandfold, so a small file may grow by that; a large one may not.

    Raises:
        DataError: together they are larger than 1 GiB and a hundred times the file.
    """
    total = sum(member.file_size for member in members)
    size = path.stat().st_size
    if total <= _LARGE or total <= _LARGEST_RATIO * size:
        return

    raise DataError(
        f"{path} has {size} bytes and would unpack to {total}",
        expected=f"at most {_LARGEST_RATIO} times as much, or 1 GiB",
        fix="if you trust where it is from, save it unpacked: np.savez instead of savez_compressed",
    )
