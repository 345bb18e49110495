"""Where bytes between two packets of a track are not those of a whole file.

FFmpeg steps over damage in Matroska and MPEG-TS without a word: it goes on with the next packet
that can be read. A gap in the times alone is no sign: a track may rest. So the bytes between two
packets are looked at, which are in order in a whole file, whatever the times are.

Sources: RFC 8794 (EBML), RFC 9559 (Matroska), ISO/IEC 13818-1 (MPEG transport streams).
"""

from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

_MASTERS = {
    0x18538067,  # Segment
    0x1F43B675,  # Cluster
    0xA0,  # BlockGroup
}
"""Elements of Matroska that blocks lie in."""

_BLOCKS = (0xA3, 0xA1)

_OTHERS = {
    *(0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B),  # head, index, tracks, cues
    *(0x1254C367, 0x1043A770, 0x1941A469),  # tags, chapters, attachments
    *(0xE7, 0xAB, 0xA7, 0x5854, 0xAF),  # of a cluster
    *(0x9B, 0xFB, 0xFA, 0xFD, 0xA2, 0xA4, 0x8E, 0x75A1, 0x75A2, 0xC8),  # of a group of blocks
    *(0xEC, 0xBF),  # a filling, a checksum
}
"""Elements of Matroska that may lie between blocks, and are stepped over."""

_SYNC = 0x47
_HEAD = 6
"""Bytes of a packet of MPEG-TS that are looked at: its track, its number, what is announced."""

_TS_SIZES = (188, 192, 204)
"""Bytes of a packet of MPEG-TS: plain, with a time of arrival, with a correction of errors."""


class Seams:
    """Looks at the bytes between packets of one track.

    Args:
        file: opened for reading bytes; it may be shared.
        stream: PyAV's.

    Attributes:
        stream: as given.
    """

    def __init__(self, file: BinaryIO, stream: Any) -> None:
        self.stream = stream
        self._file = file
        self._format = stream.container.format.name
        self._before: int | None = None

    def is_torn(self, packet: Any) -> bool:
        """Say whether something is damaged between the packet before and this one.

        Args:
            packet: the next of the track, in the order of the file.
        """
        after = packet.pos
        before = self._before
        if after is None or after < 0:  # several packets came out of one place
            return False
        self._before = after
        if before is None or after <= before:
            return False

        if self._format.startswith("matroska"):
            return not _leads_to(self._file, before, after)
        if self._format == "mpegts":
            return not _follows(self._read(before, after), self.stream.id)
        return False

    def _read(self, before: int, after: int) -> UInt8[np.ndarray, "n"]:
        """Return the bytes from one packet of MPEG-TS to the next, with the head of that."""
        self._file.seek(before)
        return np.frombuffer(self._file.read(after - before + _HEAD), dtype=np.uint8)


# ---------------------------------------------------------------------- Matroska


def _leads_to(file: BinaryIO, before: int, after: int) -> bool:
    """Say whether known elements lead from the content of a block to that of another."""
    at = _end_of_block(file, before)
    while at is not None and at < after:
        element = _element_at(file, at)
        if element is None:
            return False

        kind, content, size = element
        if kind in _MASTERS:
            at = content
        elif kind in _BLOCKS:
            if content == after:
                return True
            at = content + size
        elif kind in _OTHERS:
            at = content + size
        else:
            return False
    return False


def _end_of_block(file: BinaryIO, content: int) -> int | None:
    """Return where a block ends, by the size in front of its content."""
    for length in range(1, 9):
        start = content - length - 1
        element = _element_at(file, start) if start >= 0 else None
        if element is not None and element[0] in _BLOCKS and element[1] == content:
            return content + element[2]
    return None


def _element_at(file: BinaryIO, at: int) -> tuple[int, int, int] | None:
    """Return the kind of an element, where its content begins, and the size; None if it is none."""
    file.seek(at)
    head = file.read(12)
    kind_length = _length_of_number(head, 0)
    if kind_length is None or kind_length > 4:
        return None
    size_length = _length_of_number(head, kind_length)
    if size_length is None or kind_length + size_length > len(head):
        return None

    kind = int.from_bytes(head[:kind_length], "big")
    number = int.from_bytes(head[kind_length : kind_length + size_length], "big")
    marker = 1 << (7 * size_length)
    return kind, at + kind_length + size_length, number - marker


def _length_of_number(head: bytes, at: int) -> int | None:
    """Return how many bytes a number has: one more than there are zeros at its beginning."""
    if at >= len(head) or head[at] == 0:
        return None
    return 9 - head[at].bit_length()


# ---------------------------------------------------------------------- MPEG-TS


def _follows(content: UInt8[np.ndarray, "n"], track: int) -> bool:
    """Say whether packets of MPEG-TS follow each other, and those of a track are counted on."""
    for size in _TS_SIZES:
        whole, rest = divmod(len(content), size)
        starts = content[::size]
        if rest == _HEAD and whole and (starts == _SYNC).all():
            heads = [content[at : at + _HEAD] for at in range(0, len(content), size)]
            return _are_counted_on(np.stack(heads), track)
    return False


def _are_counted_on(heads: UInt8[np.ndarray, "packets 6"], track: int) -> bool:
    numbers = heads.astype(np.int64)
    names = (numbers[:, 1] & 0x1F) << 8 | numbers[:, 2]
    has_content = numbers[:, 3] & 0x10 > 0
    own = numbers[(names == track) & has_content]
    if (own[:, 1] & 0x80).any():  # whoever received it says so
        return False

    # a packet may be sent twice, and a new beginning may be announced
    steps = np.diff(own[:, 3] & 0x0F) % 16
    has_field = (own[1:, 3] & 0x20 > 0) & (own[1:, 4] > 0)
    is_announced = has_field & (own[1:, 5] & 0x80 > 0)
    return bool(((steps <= 1) | is_announced).all())
