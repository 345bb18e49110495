"""The files of predictions on videos: a few for each, and an index of a folder of them.

The JSON of a video is written last, at once with the others: where it is whole, so are they.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from emotailor.errors import DataError
from emotailor.files import replacing_files, write_together
from emotailor.report.page import Block, Content, Markup, Page, Section, Text, element
from emotailor.report.timeline import timeline_page
from emotailor.runs.outputs import csv_line
from emotailor.runs.timelines import srt_of, timeline_cells, timeline_header, timeline_line
from emotailor.serving.timeline import Timeline, clock
from emotailor.text import encodable
from emotailor.verified import read_json

TimelineForm = Literal["json", "csv", "srt", "html"]
FORMS: tuple[TimelineForm, ...] = ("html", "srt", "csv", "json")
"""What may be written for a video; the JSON comes last and is always written."""

INDEX = "index.html"
TABLE = "timelines.csv"
LINES = "timelines.jsonl"
FIX = "predict the video again"


def write_timeline(
    timeline: Timeline,
    folder: Path,
    name: str,
    forms: Collection[TimelineForm] = FORMS,
    *,
    video: bool = True,
) -> list[Path]:
    """Write the files of a video: all of them, or none.

    Args:
        timeline: what was predicted.
        folder: where the files go; it is made if it is not there.
        name: of the files, without an ending; it may have folders in it, as ``day 1/clip``.
        forms: what is written beside the JSON.
        video: whether the page shows the video, by a link to where it lies now.

    Returns:
        The files, the JSON last.
    """
    texts = {}
    for form in FORMS:
        if form != "json" and form not in forms:
            continue
        file = folder / f"{name}.{form}"
        texts[file] = timeline_text(timeline, form, file.parent, video=video)
    write_together(texts)
    return list(texts)


def timeline_text(
    timeline: Timeline,
    form: TimelineForm,
    folder: Path,
    *,
    video: bool = True,
    header: bool = True,
) -> str:
    """Return what a file of a timeline holds.

    Args:
        timeline: what was predicted.
        form: of the file.
        folder: that the file is in, from which a page links to the video.
        video: whether a page shows the video, by a link to where it lies now.
        header: whether rows begin with the names of their columns.
    """
    if form == "html":
        address = address_from(folder, Path(timeline.source)) if video else ""
        return timeline_page(timeline, address).to_html()
    if form == "srt":
        return encodable(srt_of(timeline))
    if form == "csv":
        rows = list(timeline_cells(timeline))
        if header:
            rows.insert(0, timeline_header(timeline.label_names))
        return encodable("".join(f"{csv_line(row)}\n" for row in rows))
    return f"{timeline_line(timeline)}\n"


def address_from(folder: Path, file: Path) -> str:
    """Return the address of a file relative to a page in a folder, percent-encoded.

    A name in it can be nothing else than a path: neither another scheme nor a part of markup.
    """
    try:
        relative = os.path.relpath(file.resolve(), folder.resolve())
    except ValueError:  # another drive
        return file.resolve().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")), safe="/")


def read_timeline(folder: Path, name: str) -> Timeline:
    """Return the timeline that :func:`write_timeline` wrote.

    Raises:
        DataError: it is not there, damaged, or of a later version.
    """
    return Timeline.from_json(read_json(folder / f"{name}.json", fix=FIX, hashed_since=1))


# ---------------------------------------------------------------------- a folder of videos


@dataclass(frozen=True)
class Listed:
    """A video in an index.

    Attributes:
        name: of its files.
        forms: the files that there are of it; none where it failed.
        problem: why it failed; empty where it did not.
    """

    name: str
    forms: Collection[TimelineForm] = FORMS
    problem: str = ""


@dataclass(frozen=True)
class Index:
    """What was written about many videos together.

    Attributes:
        files: the table, the lines and the page.
        lacks: name of a video in which nothing is predicted -> why.
    """

    files: Sequence[Path]
    lacks: Mapping[str, str]


def write_index(folder: Path, videos: Sequence[Listed]) -> Index:
    """Write what there is of many videos together: a page, all lines, and all rows.

    The timelines are read one by one from their files, so that there may be any number.

    Args:
        folder: with the files of each video.
        videos: in the order in which they are to be listed.

    Raises:
        DataError: a timeline is not there or damaged, or has other labels than the first.
    """
    files = [folder / TABLE, folder / LINES, folder / INDEX]
    rows: list[Markup] = []
    lacks: dict[str, str] = {}
    labels: tuple[str, ...] | None = None
    with (
        replacing_files(*files) as (table, lines, index),
        table.open("w", encoding="utf-8", newline="") as table_file,
        lines.open("w", encoding="utf-8", newline="") as line_file,
    ):
        for video in videos:
            if video.problem:
                rows.append(_failed_row(video))
                continue
            timeline = read_timeline(folder, video.name)
            if labels is None:
                labels = timeline.label_names
                table_file.write(f"{csv_line(timeline_header(labels))}\n")
            if timeline.label_names != labels:
                raise DataError(
                    f"{folder / video.name}.json has the labels {', '.join(timeline.label_names)}",
                    expected=f"those of the first video: {', '.join(labels)}",
                    fix="predict all videos with one model",
                )

            line_file.write(f"{timeline_line(timeline)}\n")
            for cells in timeline_cells(timeline):
                table_file.write(encodable(f"{csv_line(cells)}\n"))
            rows.append(_row(video, timeline))
            if timeline.lack:
                lacks[video.name] = timeline.lack
        index.write_text(_index_page(rows, labels or ()).to_html(), encoding="utf-8")
    return Index(files, lacks)


@dataclass(frozen=True)
class _Videos:
    """The table of an index."""

    header: Sequence[str]
    rows: Sequence[Markup]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        titles = [element("th", title, scope="col") for title in self.header]
        head = element("thead", element("tr", *titles))
        table = element("table", head, element("tbody", *self.rows))
        return element(
            "div", table, class_="scroll", tabindex="0", role="region", aria_label="videos"
        )


def _row(video: Listed, timeline: Timeline) -> Markup:
    held = timeline.held
    cells: list[Content] = [clock(timeline.duration), f"{len(timeline.moments):,}"]
    counts = [] if timeline.lack else [str(held[label]) for label in timeline.label_names]
    numbers = [element("td", cell, class_="number") for cell in [*cells, *counts]]
    if timeline.lack:
        # zeros would say that it was looked for
        span = str(len(timeline.label_names))
        numbers.append(element("td", f"nothing is predicted: {timeline.lack}", colspan=span))
    return element("tr", _name_cell(video), *numbers, element("td", *_links(video)))


def _failed_row(video: Listed) -> Markup:
    name = element("th", video.name, scope="row")
    return element("tr", name, element("td", f"failed: {video.problem}", colspan="99"))


def _name_cell(video: Listed) -> Markup:
    content: Content = video.name
    if "html" in video.forms:
        content = element("a", video.name, href=_address(video, "html"))
    return element("th", content, scope="row")


def _links(video: Listed) -> Iterator[Content]:
    """Yield links to the other files of a video."""
    for form in FORMS:
        if form != "html" and (form in video.forms or form == "json"):
            yield element("a", form.upper(), href=_address(video, form))
            yield " "


def _address(video: Listed, form: TimelineForm) -> str:
    return quote(os.fsencode(f"{video.name}.{form}"), safe="/")


def _index_page(rows: Sequence[Markup], labels: Sequence[str]) -> Page:
    header = ["video", "length", "utterances", *labels, "files"]
    note = Text("Below each emotion: in how many utterances it holds.", "note")
    blocks: list[Block] = [note, _Videos(header, rows)]
    count = "1 video" if len(rows) == 1 else f"{len(rows):,} videos"
    return Page(title="Emotions in videos", subtitle=count, sections=[Section("Videos", blocks)])
