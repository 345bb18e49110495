"""Word errors and bounds, as the benchmark of speech counts them."""

from pathlib import Path

import pytest

from benchmarks.speech import (
    Segment,
    distances_of,
    errors_of,
    plain_words,
    segments_of,
    word_errors,
)
from emotailor.errors import ConfigError
from emotailor.extraction.base import Utterance, Word


@pytest.mark.parametrize(
    ("found", "errors"),
    [
        ("a b c d", 0),
        ("a b d", 1),  # left out
        ("a b x c d", 1),  # put in
        ("a b x d", 1),  # replaced
        ("b c d a", 2),
        ("", 4),
        ("w x y z a b c d", 4),
    ],
)
def test_word_errors(found: str, errors: int) -> None:
    assert word_errors(["a", "b", "c", "d"], found.split()) == errors


def test_texts_without_case_and_punctuation() -> None:
    assert plain_words("Dr. Sims: I'm HERE, legal-ly!") == [
        "dr", "sims", "i'm", "here", "legal", "ly",
    ]  # fmt: skip


def test_a_word_belongs_to_the_segment_of_its_middle() -> None:
    segment = Segment(1.0, 2.0, ["in", "it"])
    words = [
        Word("no", 0.4, 1.2),
        Word("In,", 0.9, 1.3),
        Word("it", 1.5, 2.4),
        Word("no", 2.0, 2.5),
    ]
    assert errors_of(segment, words) == 0


def test_bounds_are_those_next_to_a_segment() -> None:
    utterances = [Utterance((), 0.5, 3.0), Utterance((), 4.0, 6.5)]
    assert distances_of(Segment(3.5, 6.0, []), utterances) == (0.5, 0.5)


def test_segments_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "text.csv"
    rows = ["id,start,end,text", "a,0,1.5,Title: Hello you", "a,2,3,", "b,0,1,No"]
    table.write_text("\n".join(rows))
    assert segments_of(table, "a", "Title:") == [Segment(0.0, 1.5, ["hello", "you"])]
    assert segments_of(table, "a", "")[0].words == ["title", "hello", "you"]
    with pytest.raises(ConfigError, match="no text of c"):
        segments_of(table, "c", "")
