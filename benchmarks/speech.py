"""Words and utterances of a real video against its labelled segments, and what sound costs.

The sound of VIDEO is extracted as a user's is. Its labelled segments come from --text, a CSV with
the columns id, start, end and text, of which id is the name of the video. A word belongs to the
segment that its middle lies in. Texts are compared without case and punctuation; words of a text
that nobody says, such as a title on a slide, count as errors, unless --unspoken names them.

Bounds: the nearest start and the nearest end of our utterances to those of each segment.
"""

import csv
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import report
from benchmarks.encoding import peak_memory
from emotailor.errors import ConfigError
from emotailor.extraction.acoustic import acoustic_features
from emotailor.extraction.base import Utterance, Word
from emotailor.extraction.config import ExtractionConfig, SpeechConfig
from emotailor.extraction.decoding import decode
from emotailor.extraction.media import open_medium
from emotailor.extraction.speech import Recogniser
from emotailor.extraction.utterances import cut_utterances
from emotailor.extraction.voice import speech_regions

SHARED = Path("../shared/data")
VIDEO = SHARED / "mosei_clips/-3nNcZdcdvU.mp4"
TEXT = SHARED / "mosei_text/mosei_text.csv"

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Segment:
    """A labelled part of a video.

    Attributes:
        start: seconds.
        end: seconds.
        words: what is said, as :func:`plain_words` gives it.
    """

    start: float
    end: float
    words: list[str]


def plain_words(text: str) -> list[str]:
    """Return the words of a text in small letters, without punctuation."""
    return re.sub(r"[^\w' ]", " ", text.lower()).split()


def word_errors(reference: Sequence[str], found: Sequence[str]) -> int:
    """Return how many words must be left out, put in or replaced to get from one to the other."""
    distances = list(range(len(found) + 1))
    for i, expected in enumerate(reference, 1):
        diagonal, distances[0] = distances[0], i
        for j, word in enumerate(found, 1):
            replaced = diagonal + (word != expected)
            diagonal = distances[j]
            distances[j] = min(replaced, distances[j] + 1, distances[j - 1] + 1)
    return distances[-1]


def segments_of(table: Path, video: str, unspoken: str) -> list[Segment]:
    """Return the segments of a video that have a text.

    Raises:
        ConfigError: there are none.
    """
    if not table.is_file():
        raise ConfigError(f"--text {table} does not exist", expected="a CSV with texts")
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["id"] == video and row["text"]]
    if not rows:
        raise ConfigError(f"{table} has no text of {video}", expected="rows with that id")

    segments = []
    for row in rows:
        text = row["text"].replace(unspoken, " ") if unspoken else row["text"]
        segment = Segment(float(row["start"]), float(row["end"]), plain_words(text))
        segments.append(segment)
    return segments


def errors_of(segment: Segment, words: Sequence[Word]) -> int:
    """Return the word errors in one segment."""
    inside = []
    for word in words:
        middle = (word.start + word.end) / 2
        if segment.start <= middle < segment.end:
            inside.append(word.text)
    return word_errors(segment.words, plain_words(" ".join(inside)))


def distances_of(segment: Segment, utterances: Sequence[Utterance]) -> tuple[float, float]:
    """Return the seconds from the bounds of a segment to the nearest ones of our utterances."""
    starts = [abs(utterance.start - segment.start) for utterance in utterances]
    ends = [abs(utterance.end - segment.end) for utterance in utterances]
    return min(starts), min(ends)


def timed(work: Callable[[], ResultT], seconds: dict[str, float], name: str) -> ResultT:
    """Do some work, and note the processor seconds that it takes."""
    begin = time.process_time()
    result = work()
    seconds[name] = time.process_time() - begin
    return result


def measure(video: Path, speech: SpeechConfig, segments: Sequence[Segment]) -> dict[str, Any]:
    """Extract words and utterances of a video, and compare them."""
    settings = ExtractionConfig(speech=speech)
    seconds: dict[str, float] = {}
    decoded = timed(lambda: decode(open_medium(video)), seconds, "decoding")
    sound = decoded.sound
    if sound is None:
        raise ConfigError(f"{video} has no sound", expected="a video of somebody who speaks")

    recogniser = Recogniser(speech, threads=1)
    timed(lambda: acoustic_features(sound, settings.sound), seconds, "features")
    regions = timed(lambda: speech_regions(sound), seconds, "voice")
    heard = timed(lambda: recogniser.transcribe(sound, regions), seconds, "words")
    utterances = cut_utterances(heard.words, decoded.duration, settings.utterance, regions)

    errors = [errors_of(segment, heard.words) for segment in segments]
    counts = [len(segment.words) for segment in segments]
    return {
        "duration": decoded.duration,
        "seconds_a_second": {name: cost / sound.duration for name, cost in seconds.items()},
        "memory_mib": peak_memory(),
        "text": " ".join(word.text for word in heard.words),
        "errors": errors,
        "words": counts,
        "word_error_rate": sum(errors) / sum(counts),
        "bounds": [distances_of(segment, utterances) for segment in segments],
        "utterances": [(u.start, u.end, u.text) for u in utterances],
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument("video", type=Path, nargs="?", default=VIDEO, help="a video")
    parser.add_argument("--text", type=Path, default=TEXT, help="a CSV with its segments")
    parser.add_argument("--unspoken", default="", help="words of the texts that nobody says")
    parser.add_argument("--model", default=SpeechConfig().model, help="of faster-whisper")
    parser.add_argument("--longest", type=float, default=SpeechConfig().longest)
    args = parser.parse_args(arguments)
    report.check_json(args.json)

    segments = segments_of(args.text, args.video.stem, args.unspoken)
    speech = SpeechConfig(model=args.model, longest=args.longest)
    result = measure(args.video, speech, segments)

    rows = []
    for i, segment in enumerate(segments):
        start, end = result["bounds"][i]
        times = f"{segment.start:.1f} to {segment.end:.1f}"
        errors = f"{result['errors'][i]} of {result['words'][i]}"
        rows.append([times, errors, f"{start:.2f}", f"{end:.2f}"])
    costs = [f"{name} {cost:.3f}" for name, cost in result["seconds_a_second"].items()]
    notes = [
        f"word error rate {result['word_error_rate']:.3f}",
        f"processor seconds a second of video: {', '.join(costs)}",
        *(f"{start:6.2f} {end:6.2f}  {text}" for start, end, text in result["utterances"]),
    ]
    report.show(
        f"{args.video.name} with {args.model}",
        ["segment", "word errors", "s to a start", "s to an end"],
        rows,
        notes,
    )
    report.save(args.json, {"benchmark": "speech", **result})
    return result


if __name__ == "__main__":
    report.run(main)
