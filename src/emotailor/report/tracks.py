"""Charts over the time of a video: emotions with their thresholds, curves of face and voice."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from emotailor.report.page import Content, Markup, element
from emotailor.serving.curves import Curve
from emotailor.serving.prediction import Failure, Prediction
from emotailor.serving.timeline import Moment, Timeline, clock

WIDE = 1000  # units of a chart from the start to the end of a video
HIGH = 100  # units of a chart from bottom to top
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
"""Seconds that may lie between the numbers of the axis of time."""
MOST_TICKS = 6
MANY = 120  # bars from which those of emotions that do not hold are shades, not outlines

PAUSE = 1.0  # seconds without an utterance from which a chart says that nobody speaks
UNSEEN = 0.5  # seconds without a value from which a chart says that there is none
WORDY = 0.1
WORDY_ON_A_PHONE = 0.2
"""Shares of a chart from which there is room to say why nothing is shown."""
SILENCE = -95.0  # dB: below any sound that a microphone takes


# ---------------------------------------------------------------------- parts of a chart


@dataclass(frozen=True)
class Gap:
    """A stretch of time of which a chart has nothing to show.

    Attributes:
        start: seconds.
        end: seconds.
        told: why there is nothing.
    """

    start: float
    end: float
    told: str

    def markup(self, duration: float) -> Markup:
        """Return its HTML, to lie over a chart."""
        left = _place(duration, self.start) / WIDE
        width = _place(duration, self.end) / WIDE - left
        kind = "gap"
        # what would be cut off is told where one points at it
        if width >= WORDY:
            kind = "gap wide" if width >= WORDY_ON_A_PHONE else "gap some"
        return element(
            "span",
            element("span", self.told),
            class_=kind,
            style=f"left:{left:.2%};width:{width:.2%}",
            title=f"{clock(self.start)} to {clock(self.end)}: {self.told}",
        )


@dataclass(frozen=True)
class Track:
    """One chart over the time of a video.

    Attributes:
        name: what it shows.
        shapes: SVG from 0 to :data:`WIDE` and, downwards, from 0 to :data:`HIGH`.
        value: what there is to say of it, at its end.
        told: what it shows, for those who do not see it.
        gaps: where there is nothing to show.
        control: what changes it, below the value; for a script.
        data: what a script has to know of it.
    """

    name: str
    shapes: Sequence[Markup]
    value: str
    told: str
    gaps: Sequence[Gap] = ()
    control: Markup | None = None
    data: dict[str, str] = field(default_factory=dict)

    def markup(self, duration: float) -> Markup:
        """Return its HTML: name, chart and value."""
        picture = element(
            "svg",
            *self.shapes,
            viewBox=f"0 0 {WIDE} {HIGH}",
            preserveAspectRatio="none",
            role="img",
            aria_label=self.told,
        )
        gaps = [gap.markup(duration) for gap in self.gaps]
        now = element("i", class_="now")
        value = element("div", element("span", self.value), self.control, class_="value")
        return element(
            "div",
            element("span", self.name, class_="name"),
            element("div", picture, *gaps, now, class_="track"),
            value,
            class_="row",
            data_name=self.name,
            **self.data,
        )


@dataclass(frozen=True)
class Tracks:
    """Charts below each other, over one axis of time.

    Attributes:
        tracks: the charts.
        duration: seconds of the video.
        many: whether there are so many bars that outlines would run into each other.
        data: what a script has to know of all of them.
    """

    tracks: Sequence[Track]
    duration: float
    many: bool = False
    data: dict[str, str] = field(default_factory=dict)

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        charts = [track.markup(self.duration) for track in self.tracks]
        axis = element("span", *self._ticks(), class_="ticks", aria_hidden="true")
        return element(
            "div",
            *charts,
            element("div", axis, class_="row axis"),
            class_="tracks many" if self.many else "tracks",
            data_duration=f"{self.duration:.3f}",
            **self.data,
        )

    def _ticks(self) -> Iterator[Markup]:
        """Yield the numbers of the axis."""
        if self.duration <= 0:
            return
        fitting = [every for every in TICKS if self.duration / every <= MOST_TICKS]
        every = fitting[0] if fitting else self.duration / MOST_TICKS

        for number in range(int(self.duration / every) + 1):
            seconds = float(number * every)
            place = 100 * seconds / self.duration
            # the last number would stand beyond the edge
            if place < 97:
                yield element("span", clock(seconds), style=f"left:{place:.2f}%")


def _place(duration: float, seconds: float) -> float:
    """Return where a time is in a chart."""
    if duration <= 0:
        return 0.0
    return WIDE * min(max(seconds / duration, 0.0), 1.0)


def _line(kind: str, y: float) -> Markup:
    return element(
        "line",
        class_=kind,
        x1="0",
        x2=str(WIDE),
        y1=f"{y:.1f}",
        y2=f"{y:.1f}",
        vector_effect="non-scaling-stroke",
    )


# ---------------------------------------------------------------------- emotions


def emotion_tracks(timeline: Timeline) -> Tracks:
    """Return a chart for each label: a bar an utterance, as high as its probability."""
    found = [moment.prediction for moment in timeline.moments]
    highest = [max(p.probabilities.values()) for p in found if p is not None]
    most = max([*highest, *timeline.thresholds.values(), 0.1])
    top = min(np.ceil(10 * most + 0.2) / 10, 1.0)  # of all charts, so that they can be compared

    gaps = _unspoken(timeline)
    tracks = []
    for number, label in enumerate(timeline.label_names):
        tracks.append(_emotion_track(timeline, number, label, float(top), gaps))
    many = len(timeline.moments) > MANY
    return Tracks(tracks, timeline.duration, many, {"data_top": repr(float(top))})


def _emotion_track(
    timeline: Timeline, number: int, label: str, top: float, gaps: Sequence[Gap]
) -> Track:
    shapes = []
    highest = 0.0
    for moment in timeline.moments:
        if moment.prediction is None:
            continue
        p = moment.prediction.probabilities[label]
        highest = max(highest, p)
        shapes.append(_bar(timeline, moment, moment.prediction, label, top))

    threshold = timeline.thresholds[label]
    shapes.append(_line("limit", max(HIGH * (1 - threshold / top), 0.0)))

    held = timeline.held[label]
    told = (
        f"{label}: holds in {held} of {timeline.predicted} utterances, "
        f"highest {highest:.2f}, threshold {threshold:.2f}"
    )
    return Track(
        label,
        shapes,
        f"{held} of {timeline.predicted}" if timeline.predicted else "not predicted",
        told,
        gaps,
        _slider(label, threshold),
        {"data_label": str(number)},
    )


def _bar(timeline: Timeline, moment: Moment, found: Prediction, label: str, top: float) -> Markup:
    """Return the bar of an utterance: filled where the label holds."""
    p = found.probabilities[label]
    left = _place(timeline.duration, moment.start)
    right = _place(timeline.duration, moment.end)
    height = HIGH * p / top
    title = f"{clock(moment.start)} {label} {p:.2f}"
    return element(
        "rect",
        element("title", title),
        class_="yes" if found.decisions[label] else "no",
        x=f"{left:.1f}",
        y=f"{HIGH - height:.1f}",
        width=f"{max(right - left, 1.0):.1f}",
        height=f"{height:.1f}",
        vector_effect="non-scaling-stroke",
    )


def _slider(label: str, threshold: float) -> Markup:
    """Return what moves a threshold; without a script it would do nothing, so it is hidden."""
    slider = element(
        "input",
        type="range",
        min="0",
        max="1",
        step="0.01",
        value=f"{threshold:.2f}",
        autocomplete="off",  # a browser would fill in what was set before, and move nothing
        aria_label=f"threshold of {label}",
        data_threshold=repr(float(threshold)),
    )
    number = element("span", f"{threshold:.2f}", class_="number", aria_hidden="true")
    return element("span", slider, number, class_="threshold", hidden="hidden")


def _unspoken(timeline: Timeline) -> list[Gap]:
    """Return where no emotion is predicted: nobody speaks, or what the model takes is not there."""
    gaps: list[Gap] = []
    reached = 0.0
    for moment in sorted(timeline.moments, key=lambda moment: moment.start):
        if moment.start - reached >= PAUSE:
            gaps.append(Gap(reached, moment.start, "no speech"))
        reached = max(reached, moment.end)
        if isinstance(moment.outcome, Failure):
            gaps.append(Gap(moment.start, moment.end, moment.outcome.error.found))
    if timeline.duration - reached >= PAUSE:
        gaps.append(Gap(reached, timeline.duration, "no speech"))
    return _joined(gaps)


def _joined(gaps: Iterable[Gap]) -> list[Gap]:
    """Return gaps of one reason that follow each other as one."""
    found: list[Gap] = []
    for gap in gaps:
        last = found[-1] if found else None
        if last is not None and last.told == gap.told and gap.start - last.end < PAUSE:
            found[-1] = Gap(last.start, max(last.end, gap.end), gap.told)
        else:
            found.append(gap)
    return found


@dataclass(frozen=True)
class ChartKey:
    """How to read the charts of emotions."""

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        items: list[Content] = []
        for kind, text in (("yes", "the emotion holds"), ("no", "it does not")):
            bar = element("rect", class_=kind, x="0", y="0", width="100%", height="100%")
            items.append(element("li", element("svg", bar, aria_hidden="true"), text))
        limit = element("line", class_="limit", x1="0", x2="100%", y1="50%", y2="50%")
        items.append(element("li", element("svg", limit, aria_hidden="true"), "threshold"))
        items.append(element("li", "at the right: in how many utterances it holds"))
        return element("ul", *items, class_="how")


@dataclass(frozen=True)
class ChartHelp:
    """How to move in the charts and change thresholds; a script shows it."""

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        keys = (
            " Keys: left and right go from utterance to utterance, up and down from chart to "
            "chart, Enter plays or stops."
        )
        told = element(
            "p",
            "Point at a chart to read it, choose a place in it to go there.",
            element("span", keys, class_="keys", id="keys"),
            class_="note",
        )
        moved = element("span", "The thresholds are those of the model.", class_="moved")
        reset = element("button", "Reset thresholds", type="button", disabled="disabled")
        changes = element("p", moved, reset, class_="note")
        return element("div", told, changes, class_="help", hidden="hidden")


# ---------------------------------------------------------------------- face and voice


def curve_tracks(timeline: Timeline) -> Tracks:
    """Return a chart for each curve of face and voice, and one that says so where there is none."""
    parts = {curve.part for curve in timeline.curves}
    tracks = []
    if "face" not in parts:
        why = "no face was looked for" if timeline.picture else "no pictures"
        tracks.append(_nothing("face", why, timeline.duration))
    tracks += [_curve_track(curve, timeline.duration) for curve in timeline.curves]
    if "voice" not in parts:
        tracks.append(_nothing("voice", "no sound was listened to", timeline.duration))
    return Tracks(tracks, timeline.duration)


def _nothing(name: str, why: str, duration: float) -> Track:
    return Track(name, (), "none", f"{name}: {why}", [Gap(0.0, duration, why)])


def _curve_track(curve: Curve, duration: float) -> Track:
    data = _of_curve(curve)
    gaps = _unseen(curve, duration)
    known = [value for value in curve.values if value is not None]
    if not known:
        return Track(
            curve.name, (), "none", f"{curve.name}: nothing seen or heard", gaps, None, data
        )

    low, high = _range(curve, known)
    shapes = []
    if low < 0 < high:
        shapes.append(_line("zero", _height(0.0, low, high)))
    shapes.append(_path(curve, duration, low, high))

    lowest = _number(min(known), curve.unit)
    highest = _number(max(known), curve.unit)
    value = f"{lowest} to {highest}"
    if curve.unit:
        value = f"{value} {_unit(curve)}"
    told = f"{curve.name} of the {curve.part}: {value}"
    return Track(curve.name, shapes, value, told, gaps, None, data)


def _of_curve(curve: Curve) -> dict[str, str]:
    """Return what a script has to know of a curve."""
    told = ["" if value is None else _number(value, curve.unit) for value in curve.values]
    return {
        "data_step": repr(curve.step),
        "data_unit": _unit(curve),
        "data_values": ",".join(told),
        "data_none": _lack(curve),
    }


def _lack(curve: Curve) -> str:
    """Return what it means where a curve has no value."""
    if curve.part == "face":
        return "no face"
    return "no pitch" if curve.name.startswith("pitch") else "no sound"


def _unseen(curve: Curve, duration: float) -> list[Gap]:
    """Return where a face or a sound is not there; a voice without a pitch is nothing unusual."""
    if _lack(curve) == "no pitch":
        return []
    gaps = []
    start: int | None = None
    for number, value in enumerate([*curve.values, 0.0]):
        silent = curve.unit == "dB" and value is not None and value <= SILENCE
        if value is None or silent:
            start = number if start is None else start
        elif start is not None:
            gaps.append(Gap(start * curve.step, min(number * curve.step, duration), _lack(curve)))
            start = None
    return [gap for gap in gaps if gap.end - gap.start >= min(UNSEEN, duration)]


def _unit(curve: Curve) -> str:
    return curve.unit.replace("degrees", "°")


def _range(curve: Curve, known: Sequence[float]) -> tuple[float, float]:
    """Return the values at the bottom and the top of a chart."""
    if not curve.unit:
        return 0.0, 1.0
    low = min(known)
    high = max(known)
    # a curve that never moves is in the middle
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def _number(value: float, unit: str) -> str:
    digits = 0 if unit else 2
    return f"{value:.{digits}f}"


def _height(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low)
    return HIGH * (1 - min(max(share, 0.0), 1.0))


def _path(curve: Curve, duration: float, low: float, high: float) -> Markup:
    """Return the line of a curve, with gaps where there is no value."""
    parts = []
    drawn = False
    for number, value in enumerate(curve.values):
        if value is None:
            drawn = False
            continue
        x = _place(duration, (number + 0.5) * curve.step)
        y = _height(value, low, high)
        # a line of no length makes a dot of a single point
        parts.append(f"L{x:.1f} {y:.1f}" if drawn else f"M{x:.1f} {y:.1f}h0")
        drawn = True
    return element("path", class_="curve", d="".join(parts), vector_effect="non-scaling-stroke")
