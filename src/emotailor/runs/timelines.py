"""How a timeline is shown and written: a table, JSON, rows of a CSV, subtitles."""

import json
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.fitted import FittedTable
from emotailor.runs.outputs import csv_cells, csv_header
from emotailor.serving.prediction import Failure
from emotailor.serving.timeline import Moment, Timeline, clock, told_emotions
from emotailor.text import indented, to_cell, visible
from emotailor.verified import with_hash

SAID = ("start", "end", "text")
"""The columns that a row has beyond those of other predictions."""
AFTER = 2  # columns before them: id and source
SHORTEST = 0.001  # seconds: what a subtitle can tell apart

# ---------------------------------------------------------------------- texts


def timeline_line(timeline: Timeline) -> str:
    """Return a timeline as one line of JSON, with its own hash at the end."""
    text = json.dumps(timeline.to_json(), ensure_ascii=False, allow_nan=False)
    # names of files may hold bytes that are no characters, and a hash is of characters
    values = json.loads(text.encode("utf-8", "replace"))
    return json.dumps(with_hash(values), ensure_ascii=False)


def timeline_header(label_names: Sequence[str]) -> list[str]:
    """Return the columns of a table of utterances: those of predictions, and what is said when."""
    header = csv_header(label_names)
    return [*header[:AFTER], *SAID, *header[AFTER:]]


def timeline_cells(timeline: Timeline) -> Iterator[list[str]]:
    """Yield the row of each utterance."""
    for moment in timeline.moments:
        cells = csv_cells(moment.outcome, timeline.label_names)
        said = [f"{moment.start:.3f}", f"{moment.end:.3f}", to_cell(moment.text)]
        yield [*cells[:AFTER], *said, *cells[AFTER:]]


def srt_of(timeline: Timeline) -> str:
    """Return the emotions as subtitles: SubRip, for any player.

    An utterance without an emotion that holds has none. Where utterances overlap, the earlier one
    ends as the later begins.
    """
    shown = [moment for moment in timeline.moments if moment.labels]
    shown.sort(key=lambda moment: moment.start)
    entries: list[str] = []
    for place, moment in enumerate(shown):
        end = moment.end
        if place + 1 < len(shown):
            end = min(end, shown[place + 1].start)

        start_text = _srt_time(moment.start)
        end_text = _srt_time(end)
        # what begins together with the next, or lasts no millisecond, cannot be shown
        if end - moment.start < SHORTEST or start_text == end_text:
            continue
        number = len(entries) + 1
        entries.append(f"{number}\n{start_text} --> {end_text}\n{_srt_emotions(moment)}\n")
    return "\n".join(entries)


def _srt_emotions(moment: Moment) -> str:
    """Return emotions with their probabilities in percent, such as ``happy 81 %, sad 30 %``."""
    found = moment.prediction
    assert found is not None
    parts = [f"{label} {100 * found.probabilities[label]:.0f} %" for label in moment.labels]
    # an arrow would be taken for a line of times
    return ", ".join(parts).replace("-->", "→")


def _srt_time(seconds: float) -> str:
    """Return a time as ``00:01:02,500``."""
    whole = round(max(seconds, 0.0) * 1000)
    rest, milliseconds = divmod(whole, 1000)
    minutes, second = divmod(rest, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02},{milliseconds:03}"


# ---------------------------------------------------------------------- the terminal


def render_timeline(timeline: Timeline) -> RenderableType:
    """Return the table of a video: when, what is said, which emotions and why."""
    table = FittedTable(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("what is said", ratio=3, overflow="fold")
    table.add_column("emotions", ratio=2, overflow="fold")
    for moment in timeline.moments:
        said = Text(_visible(moment.text)) if moment.words else Text("(no words)", style="dim")
        table.add_row(Text(clock(moment.start)), said, _emotions(moment))

    heading = Text.assemble(
        (indented(_visible(timeline.source)), "bold"), f": {summary_of(timeline)}"
    )
    notes = [Text(f"note: {_visible(note)}", style="dim") for note in timeline.notes]
    model = Text(f"{timeline.model}; {_thresholds(timeline)}", style="dim")
    return Group(heading, "", table, "", *notes, model)


def _emotions(moment: Moment) -> Text:
    """Return the emotions of an utterance with what spoke for them, a line each."""
    if isinstance(moment.outcome, Failure):
        return Text(_visible(told_emotions(moment)[0]), style="yellow")
    if not moment.labels:
        return Text("-", style="dim")

    lines = []
    for label, told in zip(moment.labels, told_emotions(moment), strict=True):
        lines.append(Text(told))
        because = moment.because(label)
        if because:
            lines.append(Text(f" because: {_visible(because)}", style="dim"))
    return Text("\n").join(lines)


def _visible(text: str) -> str:
    """Return a text in one line in which every character shows."""
    return visible(text).replace("\n", " ")


def summary_of(timeline: Timeline) -> str:
    """Say how long a video is, and in how many utterances which emotion holds."""
    count = len(timeline.moments)
    utterances = "1 utterance" if count == 1 else f"{count:,} utterances"
    held = [f"{label} in {n:,}" for label, n in timeline.held.items() if n]
    found = ", ".join(held) or "no emotion holds"
    if timeline.lack:
        found = f"nothing is predicted: {timeline.lack}"
    return f"{clock(timeline.duration)}, {utterances}; {found}"


def _thresholds(timeline: Timeline) -> str:
    values = set(timeline.thresholds.values())
    if len(values) == 1:
        return f"a label holds above {values.pop():.2f}"
    listed = ", ".join(f"{label} {value:.2f}" for label, value in timeline.thresholds.items())
    return f"a label holds above its threshold: {listed}"
