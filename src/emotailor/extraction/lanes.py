"""What becomes of the packets of one track: decoded, timed, and handed to pictures or sound."""

import math
from heapq import heappop, heappush
from typing import Any

from emotailor.extraction.clock import Clock, Losses
from emotailor.extraction.containers import decoded, has_order_only
from emotailor.extraction.needed import Needed
from emotailor.extraction.pictures import Sampler
from emotailor.extraction.seams import Seams
from emotailor.extraction.spool import SoundTrack

_USUAL_RATE = 25.0
"""Pictures a second where a file says nothing."""

_ROUNDED = 0.01
"""Seconds by which containers round: less is no gap."""

_LONGEST_SHOWN = 600.0
"""Seconds that the last picture may stand beyond the end that the file says."""


class Lane:
    """One track of a file.

    Args:
        name: ``picture`` or ``sound``.
        seams: of the track; they tell what is damaged between two packets.
        clock: of the file.

    Attributes:
        end: seconds at which the next frame is due; negative infinity before the first.
        frames: as many as were decoded; pictures that no sample falls on need not be.
        damaged: packets and frames that were not.
        losses: from when to when that was.
    """

    def __init__(self, name: str, seams: Seams, clock: Clock) -> None:
        self.name = name
        self.stream = seams.stream
        self.clock = clock
        self.seams = seams
        self.losses = Losses()
        self._due = -math.inf  # end of all packets so far
        self.end = -math.inf
        self.frames = 0
        self.damaged = 0

    def take(self, packet: Any) -> None:
        """Decode a packet, and hand on what comes out with it."""
        self._mend(packet)
        self._decode(packet)

    def _mend(self, packet: Any) -> None:
        """Set the stamps of a packet right, and note if some before it are lost."""
        self.clock.mend(packet, self.name)
        if self.seams.is_torn(packet) and self._due > -math.inf:
            self._tear(max(self._due, 0.0))

        if packet.pts is not None:
            start = self.clock.seconds(packet.pts, packet.time_base)
            length = float((packet.duration or 0) * packet.time_base)
            self._due = max(self._due, start + length)

    def _tear(self, time: float) -> None:
        """Note that packets may be lost from a time on; the next frame tells until when."""
        self.losses.begin(time, certain=False)

    def finish(self) -> None:
        """End the track."""
        self.losses.close(self.clock.latest)

    def _decode(self, packet: Any) -> None:
        frames = decoded(packet)
        if frames is None:
            self._lose(packet)
            return

        for frame in frames:
            if frame.is_corrupt:
                self._lose(frame)
            else:
                self._keep(frame)

    def _keep(self, frame: Any) -> None:
        time = self.clock.time_of(frame, self.name, self.end)
        # the packet may have been right: a decoder takes this stamp from elsewhere
        if not self.clock.believes(time):
            self.damaged += 1
            return

        lost_since = self.losses.end(time)
        if not self._show(frame, time, lost_since):
            self._lose(frame)
            return
        self.frames += 1
        self.clock.latest = max(self.clock.latest, time)

    def _lose(self, what: Any) -> None:
        """Note that a packet or a frame is of no use."""
        self.damaged += 1
        # without a stamp, it is what was due
        since = self.end
        if what.pts is not None:
            since = self.clock.seconds(what.pts, what.time_base)
        self.losses.begin(max(since, 0.0))

    def _show(self, frame: Any, time: float, lost_since: float | None) -> bool:
        """Hand a frame on, and say whether that was possible."""
        raise NotImplementedError


class PictureLane(Lane):
    """The pictures of a file.

    Args:
        seams: of the track.
        clock: of the file.
        sampler: takes the frames.
        needed: tells which pictures need not be decoded.
        duration: seconds of the file, as far as it says.

    Attributes:
        doubts: from when to when pictures are built upon lost ones.
    """

    def __init__(
        self,
        seams: Seams,
        clock: Clock,
        sampler: Sampler,
        needed: Needed,
        duration: float | None,
    ) -> None:
        super().__init__("picture", seams, clock)
        stream = seams.stream
        self.sampler = sampler
        self._needed = needed
        self._has_order_only = has_order_only(stream.container)
        self._times: list[int] = []  # a heap of those that no picture has had yet
        self.rate = float(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
        self._stated_end = duration or 0.0
        self.doubts: list[tuple[float, float]] = []
        self._lost_from = math.inf  # of what the next pictures are built upon
        self._doubted_from: float | None = None

    def take(self, packet: Any) -> None:
        """Decode the packets for which it is known by now whether they are needed."""
        self._mend(packet)
        for known in self._needed.through(packet):
            self._decode(known)

    def _tear(self, time: float) -> None:
        super()._tear(time)
        # else it would seem to be lost, too
        self._needed.ask_for(time - _ROUNDED)

    def finish(self) -> None:
        """Hand out the last picture for as long as it is shown."""
        super().finish()
        self._end_doubt(self.clock.latest)
        if not self.frames:
            return

        # a damaged file may say that it stands for years
        latest_end = max(self._stated_end, self.sampler.time + _LONGEST_SHOWN)
        self.end = min(self.end, latest_end)
        self.sampler.show_until(self.end)

    def _decode(self, packet: Any) -> None:
        if packet.is_corrupt:
            self._note_part_of(packet)
        if self._has_order_only and packet.dts is not None:
            heappush(self._times, packet.dts)
        super()._decode(packet)

    def _keep(self, frame: Any) -> None:
        # pictures come out in the order in which they are shown
        if self._has_order_only:
            frame.pts = None
        if self._times:
            frame.pts = heappop(self._times)
        super()._keep(frame)

    def _lose(self, what: Any) -> None:
        if self._times:  # its time goes with it
            heappop(self._times)
        super()._lose(what)

    def _show(self, frame: Any, time: float, lost_since: float | None) -> bool:
        # a picture stands until the next one, but not where those that followed are lost
        if lost_since is not None:
            self.sampler.show_until(max(lost_since, self.end))
            self._lost_from = min(self._lost_from, lost_since)
        if time <= self.sampler.time:  # a decoder held it too long
            return True
        self._doubt(frame, time)

        self.sampler.take(frame, time)
        lasts = 1 / self.rate
        if frame.duration and frame.time_base:
            lasts = float(frame.duration * frame.time_base)
        self.end = time + lasts
        return True

    def _note_part_of(self, packet: Any) -> None:
        """Note that a part of a packet is lost, of which a decoder makes a picture all the same."""
        self.damaged += 1
        if packet.pts is not None:
            time = self.clock.seconds(packet.pts, packet.time_base)
            self._lost_from = min(self._lost_from, time)

    def _doubt(self, frame: Any, time: float) -> None:
        """Note whether a picture is built upon lost ones; a later key picture is not."""
        if time < self._lost_from:
            return
        if frame.key_frame and time > self._lost_from:
            self._end_doubt(time)
        elif self._doubted_from is None:
            self._doubted_from = time

    def _end_doubt(self, time: float) -> None:
        if self._doubted_from is not None:
            self.doubts.append((self._doubted_from, time))
        self._doubted_from = None
        self._lost_from = math.inf


class SoundLane(Lane):
    """The sound of a file.

    Args:
        seams: of the track.
        clock: of the file.
        track: takes the frames.
    """

    def __init__(self, seams: Seams, clock: Clock, track: SoundTrack) -> None:
        super().__init__("sound", seams, clock)
        self.track = track

    def finish(self) -> None:
        """Write what is still held back."""
        super().finish()
        self.track.rest()

    def _show(self, frame: Any, time: float, lost_since: float | None) -> bool:
        is_heard = self.track.take(frame, time)
        self.end = self.track.end
        return is_heard
