"""Which of the faces in a video is followed.

**The rule.** Faces of pictures after one another are one track where their boxes lie on each other
and are about equally large; a track bridges ``longest_gap`` seconds in which its face is not seen.
The most prominent track is followed from its first picture to its last: area times seconds, of
which more than ten make no difference, so that who turns away at times does not come behind
somebody small. Where two that meet are about equally prominent, the one whose mouth moves more
comes first: it is more often the speaker. The next track fills what is left, and so on:

- In an interview of several shots, each shot has the most prominent face that is seen in it.
- Of two who sit beside each other the same one is followed all the time, however the detector
  orders them. The other one counts only where the first is gone for longer than the gap.
- Pictures in which the followed face is not seen have no row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.optimize import linear_sum_assignment

LONGEST_GAP = 2.0
"""Seconds for which a face may be out of sight and is waited for."""

_FARTHEST = 1.0
"""Distance of two boxes of one face, in widths and heights of a face: beyond, they do not touch."""

_SCALE = math.log(1.6)
"""How much a face may grow or shrink from one picture to the next, as a logarithm."""

_ALIKE = 0.6
"""Share of the prominence of another track from which on mouths decide."""

_IMPOSSIBLE = 1e6
"""Costs of boxes that are of two faces; the assignment takes no infinity."""

_LONG = 10.0
"""Seconds after which a track does not become more prominent."""

_BRIEF = 3
"""Pictures below which a track counts only if there is no longer one: detectors err at times."""


@dataclass(frozen=True, eq=False)
class SeenFace:
    """A face in one picture.

    Attributes:
        box: left, top, right and bottom, as shares of the picture.
        mouth: how far the mouth is open, from 0 to 1.
        values: its features.
    """

    box: tuple[float, float, float, float]
    mouth: float
    values: Float32[np.ndarray, "dim"]

    @property
    def width(self) -> float:
        """Share of the picture's width."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Share of the picture's height."""
        return self.box[3] - self.box[1]

    @property
    def centre(self) -> tuple[float, float]:
        """Shares of the picture's width and height, from its upper left corner."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True, eq=False)
class Followed:
    """The faces that were followed, one after the other.

    Attributes:
        pictures: number of the picture of each face, in order.
        faces: one for each of those pictures.
        looked_at: how many pictures there were.
        tracks: how many tracks were followed, at least in part.
        at_once: most tracks in one picture, without the very short ones.
        by_mouth: whether a mouth that moves more came before a larger face.
    """

    pictures: tuple[int, ...]
    faces: tuple[SeenFace, ...]
    looked_at: int
    tracks: int
    at_once: int
    by_mouth: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What was followed, and how much of the video it was seen in."""
        if not self.faces:
            return (f"no face was seen in {self.looked_at} pictures",)

        said = []
        if self.at_once > 1 and self.by_mouth:
            said.append(f"{self.at_once} faces at a time, about equally large")
            said.append("the one whose mouth moves more was followed")
        elif self.at_once > 1:
            said.append(f"{self.at_once} faces at a time")
            said.append("the larger one was followed")
        if self.tracks > 1:
            said.append(f"{self.tracks} faces or shots in turn were followed")

        seen = len(self.faces)
        share = f"{100 * seen // self.looked_at} %"  # never 100 where one is missing
        what = "it" if said else "one face"
        said.append(f"{what} was seen in {share} of the pictures ({seen} of {self.looked_at})")
        return ("; ".join(said),)


@dataclass(eq=False)
class _Track:
    """One face over time."""

    begin: float
    end: float = 0.0
    pictures: list[int] = field(default_factory=list)
    faces: list[SeenFace] = field(default_factory=list)

    def add(self, picture: int, time: float, face: SeenFace) -> None:
        self.pictures.append(picture)
        self.faces.append(face)
        self.end = time

    @property
    def prominence(self) -> float:
        """Mean area times seconds."""
        area = sum(face.width * face.height for face in self.faces) / len(self.faces)
        # a single picture lasts, too
        return area * min(self.end - self.begin + 0.1, _LONG)

    @property
    def movement(self) -> float:
        """How much the mouth moves from one picture to the next."""
        if len(self.faces) < 2:
            return 0.0
        mouths = np.array([face.mouth for face in self.faces])
        return float(np.abs(np.diff(mouths)).mean())


class FaceTracks:
    """Links the faces of pictures into tracks, and says at the end which ones count.

    Args:
        longest_gap: seconds for which a face may be out of sight.
    """

    def __init__(self, longest_gap: float = LONGEST_GAP) -> None:
        self._longest_gap = longest_gap
        self._open: list[_Track] = []
        self._tracks: list[_Track] = []
        self._times: list[float] = []

    def add(self, time: float, faces: Sequence[SeenFace]) -> None:
        """Take the faces of the next picture, in any order.

        Args:
            time: seconds, later than that of the picture before.
            faces: in the picture.
        """
        picture = len(self._times)
        self._times.append(time)
        # a hair's breadth for times that were rounded
        since = time - self._longest_gap - 1e-6
        self._open = [track for track in self._open if track.end >= since]

        found = self._continued(faces)
        for place, face in enumerate(faces):
            track = found.get(place)
            if track is None:
                track = _Track(begin=time)
                self._open.append(track)
                self._tracks.append(track)
            track.add(picture, time, face)

    def followed(self) -> Followed:
        """Return the faces that count, by the rule above."""
        ordered, by_mouth = _in_order(_lasting(self._tracks))

        times = np.array(self._times, np.float64)
        taken = np.zeros(len(times), bool)
        seen = np.zeros(len(times), np.int64)
        chosen: dict[int, SeenFace] = {}
        used = 0
        for track in ordered:
            first, last = track.pictures[0], track.pictures[-1]
            span = slice(first, last + 1)
            free = self._free(taken[span], times[span])
            both = zip(track.pictures, track.faces, strict=True)
            own = {picture: face for picture, face in both if free[picture - first]}

            chosen.update(own)
            used += bool(own)
            seen[track.pictures] += 1
            taken[span] = True

        pictures = tuple(sorted(chosen))
        faces = tuple(chosen[picture] for picture in pictures)
        at_once = int(seen.max(initial=0))
        return Followed(pictures, faces, len(taken), used, at_once, by_mouth)

    def _continued(self, faces: Sequence[SeenFace]) -> dict[int, _Track]:
        """Return the track that each face continues, by the number of the face."""
        if not faces or not self._open:
            return {}

        # cheapest pairs in all, so that two faces side by side do not swap
        last = [track.faces[-1] for track in self._open]
        costs = np.array([[_cost(before, now) for now in faces] for before in last])
        rows, columns = linear_sum_assignment(costs)

        continued = {}
        for row, place in zip(rows.tolist(), columns.tolist(), strict=True):
            if costs[row, place] < _IMPOSSIBLE:
                continued[place] = self._open[row]
        return continued

    def _free(
        self, taken: Bool[np.ndarray, "span"], times: Float64[np.ndarray, "span"]
    ) -> Bool[np.ndarray, "span"]:
        """Return in which pictures a track may be followed that others came before.

        A track that others cover in part counts where they are gone for longer than the gap.

        Args:
            taken: in which pictures of its span others are followed.
            times: of these pictures.
        """
        free = ~taken
        if free.all():
            return free

        # where stretches of free pictures begin and end
        edges = np.flatnonzero(np.diff(free, prepend=False, append=False))
        for begin, end in edges.reshape(-1, 2).tolist():
            if times[end - 1] - times[begin] < self._longest_gap:
                free[begin:end] = False
        return free


def _cost(before: SeenFace, now: SeenFace) -> float:
    """Return how unlike the boxes of two pictures are."""
    across = (now.centre[0] - before.centre[0]) * 2 / (now.width + before.width)
    down = (now.centre[1] - before.centre[1]) * 2 / (now.height + before.height)
    distance = math.hypot(across, down)
    scale = abs(math.log(now.height / before.height))
    if distance > _FARTHEST or scale > _SCALE:
        return _IMPOSSIBLE
    return distance + scale


def _lasting(tracks: Sequence[_Track]) -> list[_Track]:
    """Return the tracks without the very short ones, unless there are no others."""
    lasting = [track for track in tracks if len(track.faces) >= _BRIEF]
    return lasting or list(tracks)


def _in_order(tracks: Sequence[_Track]) -> tuple[list[_Track], bool]:
    """Return tracks as they count, and whether a mouth came before a larger face."""
    left = sorted(tracks, key=lambda track: track.prominence, reverse=True)
    weights = np.array([track.prominence for track in left], np.float64)
    spans = np.array([(t.pictures[0], t.pictures[-1]) for t in left], np.int64).reshape(-1, 2)
    moves = np.array([track.movement for track in left], np.float64)

    ordered = []
    by_mouth = False
    remaining = np.ones(len(left), bool)
    while remaining.any():
        top = int(np.argmax(remaining))
        meets = (spans[:, 0] <= spans[top, 1]) & (spans[:, 1] >= spans[top, 0])
        rivals = remaining & meets & (weights >= _ALIKE * weights[top])
        first = _most(moves, rivals)
        by_mouth = by_mouth or first != top
        ordered.append(left[first])
        remaining[first] = False
    return ordered, by_mouth


def _most(values: Float64[np.ndarray, "n"], among: Bool[np.ndarray, "n"]) -> int:
    return int(np.argmax(np.where(among, values, -1.0)))
