"""The page of a video: emotions over time, face and voice, and what is said with its evidence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotailor.report.page import (
    FAINTEST,
    Block,
    Content,
    Items,
    Markup,
    Page,
    Section,
    Text,
    Verdict,
    element,
    joined,
)
from emotailor.runs.timelines import summary_of
from emotailor.serving.curves import Curve
from emotailor.serving.prediction import Failure, Prediction
from emotailor.serving.timeline import Moment, Timeline, clock, told_emotions
from emotailor.text import sentence

STYLE_FILE = Path(__file__).with_name("timeline.css")
SCRIPT_FILE = Path(__file__).with_name("timeline.js")

WIDE = 1000  # units of a chart from the start to the end of a video
HIGH = 100  # units of a chart from bottom to top
FAINT = 0.05  # change of log-odds that has the full colour where none is larger
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
"""Seconds that may lie between the numbers of the axis of time."""
MOST_TICKS = 6
MANY = 120  # bars from which those of emotions that do not hold are shades, not outlines


# ---------------------------------------------------------------------- charts over time


@dataclass(frozen=True)
class Track:
    """One chart over the time of a video.

    Attributes:
        name: what it shows.
        shapes: SVG from 0 to :data:`WIDE` and, downwards, from 0 to :data:`HIGH`.
        value: what there is to say of it, at its end.
        told: what it shows, for those who do not see it.
    """

    name: str
    shapes: Sequence[Markup]
    value: str
    told: str

    def markup(self) -> Markup:
        """Return its HTML: name, chart and value."""
        picture = element(
            "svg",
            *self.shapes,
            viewBox=f"0 0 {WIDE} {HIGH}",
            preserveAspectRatio="none",
            role="img",
            aria_label=self.told,
        )
        now = element("i", class_="now")
        chart = element("div", picture, now, class_="track")
        name = element("span", self.name, class_="name")
        return joined([name, chart, element("span", self.value, class_="value")])


@dataclass(frozen=True)
class Tracks:
    """Charts below each other, over one axis of time.

    Attributes:
        tracks: the charts.
        duration: seconds of the video.
        many: whether there are so many bars that outlines would run into each other.
    """

    tracks: Sequence[Track]
    duration: float
    many: bool = False

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        charts = [track.markup() for track in self.tracks]
        nothing = element("span")
        axis = element("span", *self._ticks(), class_="ticks", aria_hidden="true")
        return element(
            "div",
            *charts,
            nothing,
            axis,
            nothing,
            class_="tracks many" if self.many else "tracks",
            data_duration=f"{self.duration:.3f}",
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


def emotion_tracks(timeline: Timeline) -> Tracks:
    """Return a chart for each label: a bar an utterance, as high as its probability."""
    found = [moment.prediction for moment in timeline.moments]
    highest = [max(p.probabilities.values()) for p in found if p is not None]
    most = max([*highest, *timeline.thresholds.values(), 0.1])
    top = min(np.ceil(10 * most + 0.2) / 10, 1.0)  # of all charts, so that they can be compared

    tracks = [_emotion_track(timeline, label, float(top)) for label in timeline.label_names]
    many = len(timeline.moments) > MANY
    return Tracks(tracks, timeline.duration, many)


def _emotion_track(timeline: Timeline, label: str, top: float) -> Track:
    shapes = []
    highest = 0.0
    for moment in timeline.moments:
        if moment.prediction is None:
            continue
        p = moment.prediction.probabilities[label]
        highest = max(highest, p)
        shapes.append(_bar(timeline, moment, moment.prediction, label, top))

    threshold = timeline.thresholds[label]
    shapes.append(_line("limit", HIGH * (1 - threshold / top)))

    held = timeline.held[label]
    told = (
        f"{label}: holds in {held} of {timeline.predicted} utterances, "
        f"highest {highest:.2f}, threshold {threshold:.2f}"
    )
    return Track(label, shapes, f"{held} of {timeline.predicted}", told)


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


def curve_tracks(timeline: Timeline) -> Tracks:
    """Return a chart for each curve of face and voice."""
    tracks = [_curve_track(curve, timeline.duration) for curve in timeline.curves]
    return Tracks(tracks, timeline.duration)


def _curve_track(curve: Curve, duration: float) -> Track:
    known = [value for value in curve.values if value is not None]
    if not known:
        return Track(curve.name, (), "none", f"{curve.name}: nothing seen or heard")

    low, high = _range(curve, known)
    shapes = []
    if low < 0 < high:
        shapes.append(_line("zero", _height(0.0, low, high)))
    shapes.append(_path(curve, duration, low, high))

    lowest = _number(min(known), curve.unit)
    highest = _number(max(known), curve.unit)
    value = f"{lowest} to {highest}"
    if curve.unit:
        value = f"{value} {curve.unit.replace('degrees', '°')}"
    return Track(curve.name, shapes, value, f"{curve.name} of the {curve.part}: {value}")


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


@dataclass(frozen=True)
class ChartKey:
    """How to read the charts of emotions."""

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        items = []
        for kind, text in (("yes", "the emotion holds"), ("no", "it does not")):
            bar = element("rect", class_=kind, x="0", y="0", width="100%", height="100%")
            items.append(element("li", element("svg", bar, aria_hidden="true"), text))
        limit = element("line", class_="limit", x1="0", x2="100%", y1="50%", y2="50%")
        items.append(element("li", element("svg", limit, aria_hidden="true"), "threshold"))
        items.append(element("li", "at the right: in how many utterances it holds"))
        return element("ul", *items, class_="how")


# ---------------------------------------------------------------------- video and transcript


@dataclass(frozen=True)
class Player:
    """The video beside the timeline.

    Attributes:
        video: its address, relative to the page.
        picture: whether it has pictures.
        name: what it is called.
    """

    video: str
    picture: bool
    name: str

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        kind = "picture" if self.picture else "sound"
        link = element("a", self.name, href=self.video)
        player = element(
            "video",
            link,
            src=self.video,
            controls="controls",
            preload="metadata",
            class_=kind,
            aria_label=self.name,
        )
        told = element("p", "Choose an utterance, or a place in a chart, to see it.")
        unplayed = element(
            "p",
            "The video cannot be shown: it is not where it was, or this browser cannot play it. ",
            link,
            class_="unplayed",
            hidden="hidden",
        )
        return element("aside", player, told, unplayed, class_="player", aria_label="video")


@dataclass(frozen=True)
class Transcript:
    """What is said, with the emotions of each utterance, and words in the colour of their evidence.

    Attributes:
        timeline: what is shown.
        video: address of the video; empty for none.
    """

    timeline: Timeline
    video: str

    def markup(self, level: int) -> Markup:
        """Return its HTML: a choice of an emotion, then the utterances."""
        timeline = self.timeline
        parts: list[Content] = []
        if self._is_explained():
            parts += [self._choice(), self._key()]
        scales = [self._scale(label) for label in timeline.label_names]
        moments = [self._moment(moment, scales) for moment in timeline.moments]
        return element("div", *parts, element("ol", *moments, class_="moments"))

    def style(self) -> str:
        """Return which emotion the words have the colour of, by what is chosen; no script does."""
        rules = []
        for k in range(len(self.timeline.label_names)):
            chosen = f"main:has(#e{k}:checked) .w"
            rules.append(f"{chosen} {{ --p: var(--p{k}, 0); --n: var(--n{k}, 0); }}")
        # a browser that cannot tell what is chosen shows the first choice
        first = self._first()
        rules.insert(0, f".w {{ --p: var(--p{first}, 0); --n: var(--n{first}, 0); }}")
        return "\n".join(rules) + "\n"

    def _is_explained(self) -> bool:
        label = self.timeline.label_names[0]
        return any(moment.evidence(label) is not None for moment in self.timeline.moments)

    def _first(self) -> int:
        """Return which label is chosen at first: the one that holds most often."""
        counts = list(self.timeline.held.values())
        return counts.index(max(counts))

    def _choice(self) -> Markup:
        first = self._first()
        options: list[Content] = [element("legend", "Words that spoke for")]
        for k, label in enumerate(self.timeline.label_names):
            attributes = {"type": "radio", "name": "emotion", "id": f"e{k}"}
            if k == first:
                attributes["checked"] = "checked"
            options.append(element("label", element("input", **attributes), label))
        return element("fieldset", *options)

    @staticmethod
    def _key() -> Markup:
        return element(
            "p",
            element("span", "Underlined", class_="key-for"),
            " words speak for the emotion, ",
            element("span", "dotted", class_="key-against"),
            " ones against it: how much its log-odds fall when the model cannot see a word and its "
            "neighbours. Measured for utterances in which an emotion holds.",
            class_="note",
        )

    def _scale(self, label: str) -> float:
        """Return the evidence for a label that has the full colour: the largest in the video."""
        scale = FAINT
        for moment in self.timeline.moments:
            drops = moment.evidence(label)
            if drops is not None:
                scale = max(scale, float(np.abs(drops).max(initial=0.0)))
        return scale

    def _moment(self, moment: Moment, scales: Sequence[float]) -> Markup:
        time = clock(moment.start)
        at = element("span", time, class_="at")
        if self.video:
            address = f"{self.video}#t={moment.start:.2f}"
            at = element("a", time, class_="at", href=address)

        content = element("div", self._said(moment, scales), _emotions(moment), _seen(moment))
        return element(
            "li",
            at,
            content,
            class_="moment",
            data_start=f"{moment.start:.3f}",
            data_end=f"{moment.end:.3f}",
        )

    def _said(self, moment: Moment, scales: Sequence[float]) -> Markup:
        if not moment.words:
            return element("p", "nothing is said", class_="told silent")

        drops = [moment.evidence(label) for label in self.timeline.label_names]
        words: list[Content] = []
        for place, word in enumerate(moment.words):
            strengths = []
            for k, of_label in enumerate(drops):
                if of_label is not None:
                    strengths.append((k, float(of_label[place]) / scales[k]))
            words += [_word(word.text, strengths), " "]
        return element("p", *words, class_="told")


def _word(text: str, strengths: Sequence[tuple[int, float]]) -> Markup:
    """Return a word with how strong it speaks for and against each label, from 0 to 1."""
    declared = []
    for k, strength in strengths:
        if abs(strength) < FAINTEST:
            continue
        side = "p" if strength > 0 else "n"
        declared.append(f"--{side}{k}:{min(abs(strength), 1.0):.2f}")
    if not declared:
        return element("span", text)
    return element("span", text, class_="w", style=";".join(declared))


def _emotions(moment: Moment) -> Markup:
    """Return the emotions of an utterance with what spoke for them."""
    if isinstance(moment.outcome, Failure):
        reason = element("li", told_emotions(moment)[0], class_="none")
        return element("ul", reason, class_="emotions")
    if not moment.labels:
        return element("ul", element("li", "no emotion", class_="none"), class_="emotions")

    items = []
    for label in moment.labels:
        p = moment.outcome.probabilities[label]
        why = None
        because = moment.because(label)
        if because:
            why = element("span", f" because: {because}", class_="why")
        items.append(element("li", element("b", label), f" {p:.2f}", why))
    return element("ul", *items, class_="emotions")


def _seen(moment: Moment) -> Markup | None:
    """Return what was seen and heard meanwhile."""
    parts = []
    if moment.face is not None:
        parts.append(f"face seen {moment.face:.0%}")
    if moment.smile is not None:
        parts.append(f"smile {moment.smile:.2f}")
    if moment.voice is not None:
        parts.append(f"voiced {moment.voice:.0%}")
    if moment.energy is not None:
        parts.append(f"{_number(moment.energy, 'dB')} dB")
    if not parts:
        return None
    return element("p", " · ".join(parts), class_="seen")


# ---------------------------------------------------------------------- the page


def timeline_page(timeline: Timeline, video: str = "") -> Page:
    """Return the page of a video.

    Args:
        timeline: what is shown.
        video: address of the video relative to the page, percent-encoded; empty to leave it out.
    """
    name = Path(timeline.source).name
    transcript = Transcript(timeline, video)
    sections = [Section("Emotions over time", [ChartKey(), emotion_tracks(timeline)])]
    if timeline.curves:
        shown = Text(_shown(timeline), "note")
        sections.append(Section("Face and voice", [shown, curve_tracks(timeline)]))
    sections.append(Section("What is said", [transcript]))

    summary: list[Block] = []
    if video:
        summary.append(Player(video, timeline.picture, name))
    summary.append(Verdict(_verdict(timeline)))
    if timeline.notes:
        summary.append(Items([sentence(note) for note in timeline.notes]))

    style = STYLE_FILE.read_text(encoding="utf-8") + transcript.style()
    return Page(
        title=name,
        subtitle=f"{summary_of(timeline).partition(';')[0]}; {timeline.model}",
        sections=sections,
        summary=summary,
        style=style,
        script=SCRIPT_FILE.read_text(encoding="utf-8") if video else "",
        media=bool(video),
    )


def _verdict(timeline: Timeline) -> list[str]:
    """Return what was found, in sentences."""
    held = [(label, count) for label, count in timeline.held.items() if count]
    held.sort(key=lambda pair: -pair[1])
    total = timeline.predicted
    if not total:
        return ["No utterance could be predicted.", sentence(timeline.lack)]
    if not held:
        return [f"No emotion holds in any of {total} utterances."]

    label, count = held[0]
    sentences = [f"{label.capitalize()} in {count} of {total} utterances."]
    if held[1:]:
        listed = ", ".join(f"{name} in {number}" for name, number in held[1:])
        sentences.append(f"Also {listed}.")
    without = sum(p is not None and not p.labels for p in _predictions(timeline))
    if without:
        sentences.append(f"None of the emotions in {without}.")
    return sentences


def _predictions(timeline: Timeline) -> list[Prediction | None]:
    return [moment.prediction for moment in timeline.moments]


def _shown(timeline: Timeline) -> str:
    """Say which of the curves the model took for evidence."""
    taken = []
    if "visual" in timeline.evidence:
        taken.append("face")
    if "audio" in timeline.evidence:
        taken.append("voice")
    parts = sorted({curve.part for curve in timeline.curves})
    others = [part for part in parts if part not in taken]

    text = "A gap is where there was nothing to see or hear."
    if others:
        listed = " and ".join(others)
        text = f"For the eye: the model took no evidence from the {listed}. {text}"
    return text
