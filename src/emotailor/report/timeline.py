"""The page of a video: emotions over time, face and voice, and what is said with its evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emotailor.report.page import (
    Block,
    Content,
    Items,
    Markup,
    Page,
    Section,
    Text,
    Verdict,
    element,
)
from emotailor.report.tracks import ChartHelp, ChartKey, curve_tracks, emotion_tracks
from emotailor.report.transcript import Transcript
from emotailor.runs.timelines import summary_of
from emotailor.serving.prediction import Prediction
from emotailor.serving.timeline import Timeline
from emotailor.text import sentence

STYLE_FILE = Path(__file__).with_name("timeline.css")
SCRIPT_FILE = Path(__file__).with_name("timeline.js")
PLAYED = "Browsers play MP4 with H.264, and WebM; the curves and the words stand without it."


@dataclass(frozen=True)
class Served:
    """Where a service has the things of a video, as addresses on the same server.

    Attributes:
        media: the video.
        downloads: what it is called -> where it can be had, such as ``JSON`` -> its address.
        home: the page that one came from.
    """

    media: str
    downloads: Mapping[str, str] = field(default_factory=dict)
    home: str = "/"

    def markup(self, level: int) -> Markup:
        """Return links to what there is; a script adds thresholds that were moved."""
        links: list[Content] = [element("a", "← All videos", href=self.home, class_="home")]
        if self.downloads:
            links.append(element("span", "Download"))
        for name, address in self.downloads.items():
            links.append(element("a", name, href=address, class_="download", download=""))
        return element("p", *links, class_="files")


@dataclass(frozen=True)
class Player:
    """The video beside the timeline.

    Attributes:
        video: its address.
        picture: whether it has pictures.
        name: what it is called.
        served: whether the address is that of a service, where the video surely is.
    """

    video: str
    picture: bool
    name: str
    served: bool = False

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        kind = "picture" if self.picture else "sound"
        player = element(
            "video",
            element("a", self.name, href=self.video),
            src=self.video,
            controls="controls",
            preload="metadata",
            class_=kind,
            aria_label=self.name,
        )
        told = element("p", "Choose an utterance, or a place in a chart, to see it.")
        return element(
            "aside",
            player,
            told,
            _hidden("unplayed", self._why_unplayed()),
            _hidden(
                "unseen",
                "This browser plays the sound alone: it cannot show pictures that are coded so. "
                f"{PLAYED}",
            ),
            class_="player",
            aria_label="video",
        )

    def _why_unplayed(self) -> str:
        if self.served:
            return f"This browser cannot play the video. {PLAYED}"
        return (
            f"The video cannot be shown: {self.name} is not beside this page, or this browser "
            f"cannot play it. {PLAYED}"
        )


def _hidden(kind: str, text: str) -> Markup:
    """Return a text that a script shows when it comes true."""
    return element("p", text, class_=kind, hidden="hidden")


# ---------------------------------------------------------------------- the page


def timeline_page(timeline: Timeline, video: str = "", served: Served | None = None) -> Page:
    """Return the page of a video.

    Args:
        timeline: what is shown.
        video: address of the video relative to the page, percent-encoded; empty to leave it out.
        served: where a service has the video and what can be downloaded, instead of ``video``.
    """
    name = Path(timeline.source).name
    address = video if served is None else served.media
    transcript = Transcript(timeline, address)
    shown = Text(_shown(timeline), "note")
    sections = [
        Section("Emotions over time", [ChartKey(), emotion_tracks(timeline), ChartHelp()]),
        Section("Face and voice", [shown, curve_tracks(timeline)]),
        Section("What is said", [transcript]),
    ]

    summary: list[Block] = []
    if address:
        summary.append(Player(address, timeline.picture, name, served is not None))
    if served is not None:
        summary.append(served)
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
        script=SCRIPT_FILE.read_text(encoding="utf-8"),
        media=bool(address),
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

    text = "Hatched: there was nothing to see or hear."
    if others:
        listed = " and ".join(others)
        text = f"For the eye: the model took no evidence from the {listed}. {text}"
    return text
