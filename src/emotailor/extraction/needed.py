"""Which pictures of a video are worth decoding, known before they are decoded."""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

from emotailor.extraction.clock import Clock
from emotailor.extraction.containers import has_order_only
from emotailor.extraction.pictures import first_sample

_AHEAD = 20
"""Packets looked at before one is decoded: pictures change places over sixteen at most."""

_SKIP = {"h264", "hevc"}
"""Codecs whose decoders leave out a picture on demand, if no other is built upon it."""


class Needed:
    """Holds packets back until it is known which pictures are sampled.

    A picture is needed if a sample lies between it and the next one. Which one that is only shows
    in later packets, as they do not come in the order in which they are shown.

    Args:
        stream: PyAV's, of the pictures.
        clock: of the file.
        per_second: samples a second.
    """

    def __init__(self, stream: Any, clock: Clock, per_second: float) -> None:
        self._context = stream.codec_context
        self._clock = clock
        self._per_second = per_second
        can_skip = self._context.name in _SKIP
        self._is_used = can_skip and not has_order_only(stream.container)
        self._waiting: deque[tuple[Any, float | None]] = deque()
        self._passed: deque[float] = deque(maxlen=_AHEAD)
        self._asked = math.inf

    def ask_for(self, time: float) -> None:
        """Let the first picture from a time on be decoded, whether a sample falls on it or not."""
        self._asked = time

    def through(self, packet: Any) -> Iterator[Any]:
        """Take a packet, and yield those that are to be decoded now, the decoder being told how."""
        if not self._is_used:
            yield packet
            return

        is_last = packet.size == 0  # it empties the decoder
        time = None
        if packet.pts is not None:
            time = self._clock.seconds(packet.pts, packet.time_base)
        self._waiting.append((packet, time))

        # with the end in sight, nothing is left to wait for
        most = 0 if is_last else _AHEAD
        while len(self._waiting) > most:
            yield self._next()

    def _next(self) -> Any:
        packet, time = self._waiting.popleft()
        leave_out = time is not None and not self._is_needed(time)
        self._context.skip_frame = "NONREF" if leave_out else "DEFAULT"
        if time is not None:
            self._passed.append(time)
        return packet

    def _is_needed(self, time: float) -> bool:
        """Say whether a sample falls on a picture; so it is for the last one that is known."""
        ahead = [other for _, other in self._waiting if other is not None]
        known = (*self._passed, *ahead)
        earlier = [other for other in known if self._asked <= other < time]
        if time >= self._asked and not earlier:
            self._asked = math.inf
            return True

        later = [other for other in known if other > time]
        if not later:
            return True
        sample = first_sample(time, self._per_second)
        return sample < first_sample(min(later), self._per_second)
