"""Times of pictures and sound: mended where the stamps of a file are damaged or begin anew."""

import math
from dataclasses import dataclass
from typing import Any

_LONGEST_BACK = 2.0
"""Seconds: stamps that go back further begin anew, as in recordings that were put together."""

_LONGEST_GAP = 600.0
"""Seconds: stamps that go further ahead of all that came so far are damaged."""


_LEAST_LOSS = 0.01
"""Seconds of a gap where something may be lost: containers round by less."""


@dataclass
class _Hand:
    """Where one track is, in seconds since the beginning."""

    due: float = -math.inf  # of its next packet; none came so far
    shift: float = 0.0  # added to its stamps


class Clock:
    """Seconds since the beginning, for the packets and frames of all tracks.

    Args:
        start: what the file's clock shows at the beginning.

    Attributes:
        latest: time of all frames so far; whoever takes one sets it.
        without_stamps: tracks with frames that say no time.
        restarts: times at which stamps were not believed.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._hands: dict[str, _Hand] = {}
        self._furthest = 0.0
        self.latest = 0.0
        self.without_stamps: set[str] = set()
        self.restarts: list[float] = []

    def mend(self, packet: Any, track: str) -> None:
        """Set the stamps of a packet right, if they leap.

        Packets come in the order of decoding, so they never go back in a whole file. Frames may:
        after damage, a decoder hands out what it still held.

        Args:
            packet: PyAV's.
            track: its name.
        """
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            return
        hand = self._hands.setdefault(track, _Hand())
        time = self.seconds(stamp, packet.time_base) + hand.shift

        went_back = time < hand.due - _LONGEST_BACK
        jumped = time > max(self._furthest, hand.due) + _LONGEST_GAP
        if went_back or jumped:
            due = max(hand.due, 0.0)
            hand.shift += due - time
            time = due
            self.restarts.append(due)

        hand.due = time + float((packet.duration or 0) * packet.time_base)
        self._furthest = max(self._furthest, time)
        _shift(packet, hand.shift)

    def time_of(self, frame: Any, track: str, due: float) -> float:
        """Return when a frame is shown or heard.

        Args:
            frame: PyAV's.
            track: its name.
            due: the end of the frame before, for frames that say no time; negative infinity
                where none came before.
        """
        if frame.pts is None:
            self.without_stamps.add(track)
            return max(due, 0.0)
        return self.seconds(frame.pts, frame.time_base)

    def believes(self, time: float) -> bool:
        """Say whether a frame can belong to the packets so far: its own stamp may be damaged."""
        return time <= self._furthest + _LONGEST_GAP

    def seconds(self, stamp: int, unit: Any) -> float:
        """Return the time that a stamp says."""
        return float(stamp * unit) - self._start


def _shift(packet: Any, seconds: float) -> None:
    if not seconds:
        return
    ticks = round(seconds / packet.time_base)
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks


class Losses:
    """From when to when nothing could be decoded in a track."""

    def __init__(self) -> None:
        self._since = math.inf
        self._is_certain = False
        self.spans: list[tuple[float, float]] = []

    def begin(self, time: float, *, certain: bool = True) -> None:
        """Note that nothing is there from a time on, or from an earlier one.

        Args:
            time: seconds.
            certain: whether it is; if not, a gap before what comes next tells.
        """
        # a frame that comes late, from a loss that is noted
        if self.spans and time < self.spans[-1][1]:
            return
        self._since = min(self._since, time)
        self._is_certain |= certain

    def end(self, time: float) -> float | None:
        """Note that something is there again, and return since when nothing was, if so.

        What comes late from a decoder, from before the loss, does not end it.
        """
        if time < self._since:
            return None
        since, is_certain = self._since, self._is_certain
        self._since, self._is_certain = math.inf, False
        if not is_certain and time - since < _LEAST_LOSS:
            return None
        self.spans.append((since, time))
        return since

    def close(self, time: float) -> None:
        """Note that the track ends here, or where the loss began if that is later."""
        if self._since < math.inf:
            self.end(max(time, self._since))
