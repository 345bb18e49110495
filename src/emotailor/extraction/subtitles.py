"""Subtitles: SRT and WebVTT, also with times of words inside a line, and with what is not said."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from emotailor.extraction.cues import Cue

_TIME = r"-?(?:\d+:)?\d{1,3}:\d{1,2}(?:[.,]\d{1,3})?"
_TIMES = re.compile(rf"^\s*({_TIME})\s*-->\s*({_TIME})")
_ARROW = "-->"
_INLINE = re.compile(r"<((?:\d+:)?\d{1,2}:\d{2}\.\d{1,3})>")
_NUMBER = re.compile(r"^\d+$")

_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_UNSAID = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|[♪♫#]+(?=\s|$)|[♪♫]")
_LABEL = re.compile(r"^\s*(?:[-–—]\s*|>>+\s*)?(?:[A-Z][A-Z0-9 .'-]*|Speaker \d+)?:\s+")  # noqa: RUF001
_DASH = re.compile(r"^\s*(?:[-–—]+|>>+)\s+")  # noqa: RUF001

_ALIKE = 0.05  # seconds between a cue and the one that it repeats a line of


@dataclass
class _Block:
    """A cue as it stands in the file.

    Attributes:
        start: seconds.
        end: seconds.
        lines: of its text, with their tags.
    """

    start: float
    end: float
    lines: list[str]


def has_cues(text: str) -> bool:
    """Whether a text seems to be subtitles."""
    return any(_ARROW in line for line in text.splitlines())


def read_cues(text: str) -> tuple[list[Cue], int]:
    """Return the cues of subtitles, and how many have times that cannot be read.

    Where words have times of their own, each is a cue. A line that rolls on from one cue to the
    next, as in captions of YouTube, is taken once.

    Args:
        text: of an SRT or WebVTT file.
    """
    blocks, damaged = _blocks(text)
    cues: list[Cue] = []
    before = _Block(0.0, -1.0, [])
    for block in blocks:
        fresh = _fresh_lines(block, before)
        text = " \n".join(fresh)
        cues += _cues_of(text, block.start, block.end)
        before = block
    return cues, damaged


def said(text: str) -> str:
    """Return what is said of a text: without tags, names of speakers, and what is only heard.

    Args:
        text: one or more lines.
    """
    plain = _TAG.sub("", text)
    plain = html.unescape(plain)

    lines = []
    for line in plain.splitlines():
        unnamed = _LABEL.sub("", line)
        lines.append(_DASH.sub("", unnamed))

    # a remark in brackets may go on in the next line
    spoken = _UNSAID.sub(" ", " ".join(lines))
    return " ".join(spoken.split())


def _fresh_lines(block: _Block, before: _Block) -> list[str]:
    """Return the lines that did not stand in the cue before, if that goes over into this one."""
    if abs(block.start - before.end) > _ALIKE:
        return block.lines
    shown = set(map(said, before.lines))
    return [line for line in block.lines if said(line) not in shown]


def _blocks(text: str) -> tuple[list[_Block], int]:
    """Return the cues as they stand in the file; what stands outside of them is left out."""
    blocks: list[_Block] = []
    damaged = 0
    is_inside = False
    for line in text.splitlines():
        found = _TIMES.match(line)
        if found:
            _drop_number(blocks, is_inside)
            blocks.append(_Block(seconds_of(found[1]), seconds_of(found[2]), []))
            is_inside = True
        elif _ARROW in line:
            damaged += 1
            is_inside = False
        elif not line.strip():
            is_inside = False
        elif is_inside:
            blocks[-1].lines.append(line)
    return blocks, damaged


def _drop_number(blocks: list[_Block], is_inside: bool) -> None:
    """Drop the number of the next cue from the text of the last, where no line lies between."""
    if is_inside and blocks[-1].lines and _NUMBER.match(blocks[-1].lines[-1].strip()):
        blocks[-1].lines.pop()


def _cues_of(text: str, start: float, end: float) -> Iterator[Cue]:
    """Yield the parts of a cue that have times of their own, or else all of it."""
    # text, time, text, time, text
    parts = _INLINE.split(text)
    inner = map(seconds_of, parts[1::2])
    times = [start, *inner, end]
    for i, part in enumerate(parts[::2]):
        words = said(part)
        if words:
            yield Cue(times[i], times[i + 1], words)


def seconds_of(time: str) -> float:
    """Return the seconds of a time such as ``01:02:03,500``.

    Args:
        time: hours, minutes and seconds, of which the hours may be left out.
    """
    digits = time.lstrip("-").replace(",", ".")
    total = 0.0
    for part in digits.split(":"):
        total = total * 60 + float(part)

    is_negative = time.startswith("-")
    return -total if is_negative else total
