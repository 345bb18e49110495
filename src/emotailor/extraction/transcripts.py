"""Transcripts that somebody gives: SRT, WebVTT, JSON with times, and plain text."""

import codecs
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from emotailor.errors import DataError
from emotailor.extraction.base import Transcript, Word
from emotailor.extraction.cues import plain_words, words_of_cues
from emotailor.extraction.subtitles import has_cues, read_cues, said
from emotailor.extraction.timing import spread
from emotailor.extraction.word_json import cues_of
from emotailor.inputs import not_a_file
from emotailor.text import plural

MAX_BYTES = 64 * 2**20

_MOMENT = 1e-9  # seconds; a medium may have no length

_FORMATS = (
    "SRT, WebVTT, plain text, or JSON as whisper, whisperx, faster-whisper or YouTube write it"
)
_FIX = "save it as UTF-8 in one of these formats, or leave it out: then the words are recognised"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_transcript(
    path: Path, duration: float, regions: Float64[np.ndarray, "regions 2"] | None = None
) -> Transcript:
    """Return the words of a transcript, with times on the medium's clock.

    Which format it is shows in what it holds, not in its name. What is not said (tags, names of
    speakers, sounds in brackets) is left out.

    Args:
        path: of the file.
        duration: seconds of the medium.
        regions: where somebody speaks; the words of a plain text are spread over them.

    Returns:
        Words that are all inside the medium. The notes say what was repaired.

    Raises:
        DataError: the file is missing, empty, damaged, of another kind, or of another medium.
    """
    text, notes = _read_text(path)
    if text.lstrip().startswith(("{", "[{", "[\n", "[ ")):
        words, found = _of_json(path, text, duration)
    elif has_cues(text):
        words, found = _of_subtitles(path, text, duration)
    else:
        words, found = _of_text(text, duration, regions)

    notes += found
    if not words:
        notes.append(f"{path.name} holds no words")
    return Transcript(tuple(words), notes=tuple(notes))


# ---------------------------------------------------------------------- the file


def _read_text(path: Path) -> tuple[str, list[str]]:
    """Return what a file holds, and in which other encoding than UTF-8 it is."""
    problem = not_a_file(path)
    if problem is not None:
        raise _refused(problem)
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise _refused(f"{path} cannot be read: {error.strerror}") from error
    if size > MAX_BYTES:
        raise _refused(f"{path} has {size:,} bytes, more than any transcript")

    text, notes = _decoded(path, content)
    if not text.strip():
        raise _refused(f"{path} is empty")
    # what is no text often decodes
    if "\0" in text:
        raise _refused(f"{path} is no text: it holds zero characters")
    return text, notes


def _decoded(path: Path, content: bytes) -> tuple[str, list[str]]:
    for mark, encoding in _MARKS:
        if not content.startswith(mark):
            continue
        try:
            return content.decode(encoding), []
        except UnicodeDecodeError as error:
            raise _refused(f"{path} begins as {encoding}, and goes on as something else") from error

    try:
        return content.decode(), []
    except UnicodeDecodeError:
        note = f"{path.name} is not in UTF-8, and was read as Windows-1252"
    try:
        return content.decode("cp1252"), [note]
    except UnicodeDecodeError as error:
        raise _refused(f"{path} is neither in UTF-8 nor in Windows-1252") from error


def _refused(found: str) -> DataError:
    return DataError(found, expected=f"a transcript: {_FORMATS}", fix=_FIX)


# ---------------------------------------------------------------------- the formats


def _of_json(path: Path, text: str, duration: float) -> tuple[list[Word], list[str]]:
    values = _parsed(path, text)
    found = cues_of(values)
    if found is None:
        raise _refused(f"{path} is JSON without words")

    cues, damaged = found
    if not cues and damaged:
        raise _refused(f"no entry of {path} has a word with its times")
    words, notes = words_of_cues(cues, duration)
    _refuse_another(path, len(cues), words, duration)
    if damaged:
        notes.append(f"{plural(damaged, 'part')} of {path.name} without a word left out")
    return words, notes


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise _refused(f"{path} begins as JSON and is damaged: {reason}") from error


def _of_subtitles(path: Path, text: str, duration: float) -> tuple[list[Word], list[str]]:
    cues, damaged = read_cues(text)
    if not cues and damaged:
        raise _refused(f"{path} has no cue whose times can be read")

    words, notes = words_of_cues(cues, duration)
    _refuse_another(path, len(cues), words, duration)
    if damaged:
        notes.append(f"{plural(damaged, 'cue')} of {path.name} had no readable times")
    return words, notes


def _refuse_another(path: Path, cues: int, words: list[Word], duration: float) -> None:
    """Refuse a transcript of which nothing lies inside the medium."""
    if words or not cues:
        return
    raise DataError(
        f"none of the {plural(cues, 'cue')} of {path} lies inside the medium",
        expected=f"times from 0 to {duration:.1f} seconds",
        fix="give the transcript of this medium, or leave it out",
    )


def _of_text(
    text: str, duration: float, regions: Float64[np.ndarray, "regions 2"] | None
) -> tuple[list[Word], list[str]]:
    """Return the words of a text, spread over where somebody speaks."""
    lines = [said(line) for line in text.splitlines()]
    texts = plain_words(" ".join(lines))
    if not texts:
        return [], []

    where = "where somebody speaks"
    if regions is None or not len(regions):
        regions = np.array([(0.0, duration)])
        where = "the whole medium"
    note = f"the times of the words are estimates: the text was spread over {where}"
    return _spread_over(texts, regions), [note]


def _spread_over(texts: list[str], regions: Float64[np.ndarray, "regions 2"]) -> list[Word]:
    """Return words, each whole in one region, in proportion to the length of both."""
    lengths = np.array([len(text) for text in texts], np.float64)
    letters = np.cumsum(lengths)
    middles = (letters - lengths / 2) / letters[-1]

    seconds = regions[:, 1] - regions[:, 0]
    ends = np.cumsum(seconds)
    borders = ends / max(ends[-1], _MOMENT)
    # rounding may leave the last border below 1
    borders[-1] = 1.0
    lasts = np.searchsorted(middles, borders).tolist()

    words: list[Word] = []
    first = 0
    for last, (start, end) in zip(lasts, regions.tolist(), strict=True):
        words += spread(texts[first:last], start, end)
        first = last
    return words
