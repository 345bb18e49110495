"""Transcripts in JSON: as whisper, faster-whisper and whisperx write them, and YouTube's json3."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from emotailor.extraction.cues import Cue

_LARGEST = 1e12  # seconds or milliseconds; no medium has more
_TEXT = ("word", "text", "utf8")
_PROBABILITY = ("probability", "score", "confidence")


def cues_of(values: Any) -> tuple[list[Cue], int] | None:
    """Return the cues of a transcript, and how many entries are none; None for other JSON.

    A word without times, as whisperx gives numbers, is said between its neighbours.

    Args:
        values: as read. Either a list of words or segments, or an object with ``segments``,
            ``words``, or the ``events`` of json3. A segment has ``words``, or times and a text.
    """
    entries = _entries(values)
    if entries is None:
        return None

    cues = [cue for cue in map(_cue, entries) if cue is not None]
    timed = _with_times(cues)
    # words alone, without any time, are no transcript with times
    damaged = len(entries) - len(cues) if timed else len(entries)
    return timed, damaged


def _entries(values: Any) -> list[Any] | None:
    """Return words, or segments that have no words; None where there is no list of them."""
    if isinstance(values, list):
        return list(_entries_of(values))
    if not isinstance(values, Mapping):
        return None

    events = values.get("events")
    if isinstance(events, list):
        return list(_entries_of_events(events))

    found = [values.get(key) for key in ("segments", "words")]
    lists = [parts for parts in found if isinstance(parts, list)]
    if not lists:
        return None
    # segments without words may stand beside a list of words
    fullest = max(lists, key=len)
    return list(_entries_of(fullest))


def _entries_of(parts: Sequence[Any]) -> Iterator[Any]:
    """Yield words, and the segments that have none."""
    for part in parts:
        words = part.get("words") if isinstance(part, Mapping) else None
        if isinstance(words, list) and words:
            yield from words
        else:
            yield part


def _entries_of_events(events: Iterable[Any]) -> Iterator[Any]:
    """Yield the words of json3: milliseconds, and an end only where the event ends."""
    for event in events:
        # windows and styles are events, too
        if not isinstance(event, Mapping) or not isinstance(event.get("segs"), list):
            continue

        pieces = [piece for piece in event["segs"] if _is_said(piece)]
        begin = _number(event.get("tStartMs"))
        if begin is None:
            yield from pieces
            continue

        # each piece lasts until the next
        length = _number(event.get("dDurationMs")) or 0.0
        offsets = [_number(piece.get("tOffsetMs")) or 0.0 for piece in pieces]
        later = [*offsets[1:], length]
        for piece, start, end in zip(pieces, offsets, later, strict=False):
            last = max(start, end)
            yield {**piece, "start": (begin + start) / 1000, "end": (begin + last) / 1000}


def _is_said(piece: Any) -> bool:
    """Whether a piece of an event is more than the end of a line."""
    if not isinstance(piece, Mapping):
        return False
    text = piece.get("utf8")
    return isinstance(text, str) and bool(text.strip())


def _cue(entry: Any) -> Cue | None:
    """Return an entry as a cue, of which a time may be NaN; None where it has no text."""
    if not isinstance(entry, Mapping):
        return None
    texts = [entry[key] for key in _TEXT if isinstance(entry.get(key), str)]
    if not texts:
        return None

    start = _number(entry.get("start"))
    end = _number(entry.get("end"))
    if start is None or end is None:
        start = end = math.nan
    return Cue(start, end, texts[0].strip(), _probability(entry))


def _probability(entry: Mapping[str, Any]) -> float | None:
    for key in _PROBABILITY:
        found = _number(entry.get(key))
        if found is not None:
            return found
    return None


def _number(value: Any) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # an integer of JSON may have any length
    if not abs(value) < _LARGEST:
        return None
    return float(value)


def _with_times(cues: Sequence[Cue]) -> list[Cue]:
    """Return the cues that have a text; of those without times one for each gap."""
    timed: list[Cue] = []
    waiting: list[str] = []
    for cue in cues:
        if math.isnan(cue.start):
            waiting.append(cue.text)
            continue
        if waiting:
            before = timed[-1].end if timed else cue.start
            timed.append(Cue(min(before, cue.start), cue.start, " ".join(waiting)))
            waiting = []
        timed.append(cue)

    if waiting and timed:
        end = timed[-1].end
        timed.append(Cue(end, end, " ".join(waiting)))
    return [cue for cue in timed if cue.text]
