"""Transcripts of all kinds: what they give, what is repaired, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.errors import DataError
from emotailor.extraction.base import Transcript
from emotailor.extraction.transcripts import read_transcript

SRT = """1
00:00:01,000 --> 00:00:03,000
I see it

2
00:00:04,500 --> 00:00:05,500
<i>Tom &amp; Ann</i>
go home
"""


def read(folder: Path, content: str | bytes, duration: float = 10.0, **options: Any) -> Transcript:
    file = folder / "said.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_transcript(file, duration, **options)


def timed(transcript: Transcript) -> list[tuple[str, float, float]]:
    return [(w.text, round(w.start, 3), round(w.end, 3)) for w in transcript.words]


def text_of(transcript: Transcript) -> str:
    return " ".join(word.text for word in transcript.words)


# ---------------------------------------------------------------------- subtitles


def test_srt(tmp_path: Path) -> None:
    found = read(tmp_path, SRT)
    # 6 letters in 2 seconds, then 13 in one
    assert timed(found)[:3] == [("I", 1.0, 1.333), ("see", 1.333, 2.333), ("it", 2.333, 3.0)]
    assert text_of(found) == "I see it Tom & Ann go home"
    assert (found.words[3].start, found.words[-1].end) == (4.5, 5.5)
    assert found.words[0].probability is None
    (note,) = found.notes
    assert "2 cues" in note


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_ends_of_lines(tmp_path: Path, encoding: str, end: str) -> None:
    text = SRT.replace("home", "Zoë").replace("\n", end)
    found = read(tmp_path, text.encode(encoding))
    assert text_of(found) == "I see it Tom & Ann go Zoë"


def test_windows_1252_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, SRT.replace("home", "Zoë").encode("cp1252"))
    assert text_of(found).endswith("Zoë")
    assert "Windows-1252" in found.notes[0]


def test_numbers_without_blank_lines_are_no_words(tmp_path: Path) -> None:
    found = read(tmp_path, SRT.replace("\n\n", "\n"))
    assert text_of(found) == "I see it Tom & Ann go home"


def test_vtt_with_times_of_words(tmp_path: Path) -> None:
    text = """WEBVTT - some title

STYLE
::cue { color: red }

NOTE nobody says this

intro
00:01.000 --> 00:04.000 align:start position:0%
<v Ann>Hello <00:00:02.000><c>my</c> <00:00:02.500><c>old friend</c></v>
"""
    found = read(tmp_path, text)
    assert timed(found) == [
        ("Hello", 1.0, 2.0),
        ("my", 2.0, 2.5),
        ("old", 2.5, 3.0),
        ("friend", 3.0, 4.0),
    ]


def test_captions_that_roll_are_taken_once(tmp_path: Path) -> None:
    text = """WEBVTT

00:00:00.000 --> 00:00:02.000
so<00:00:01.000><c> we</c>

00:00:02.000 --> 00:00:02.010
so we

00:00:02.010 --> 00:00:04.000
so we
go<00:00:03.000><c> on</c>
"""
    assert text_of(read(tmp_path, text)) == "so we go on"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("JOHN: come in", "come in"),
        ("- JOHN SMITH: come in", "come in"),
        (">> Speaker 2: come in", "come in"),
        (">> come in", "come in"),
        ("[Music] come (laughs) in ♪", "come in"),
        ("{\\an8}come <font color='red'>in</font>", "come in"),
        ("Remember: come in at 10:30", "Remember: come in at 10:30"),
        ("3 &lt; 4 &amp; 5", "3 < 4 & 5"),
    ],
)
def test_what_is_not_said_is_left_out(tmp_path: Path, line: str, words: str) -> None:
    assert text_of(read(tmp_path, f"1\n00:00:01,000 --> 00:00:02,000\n{line}\n")) == words


def test_a_subtitle_without_words(tmp_path: Path) -> None:
    found = read(tmp_path, "1\n00:00:01,000 --> 00:00:02,000\n[Music]\n")
    assert found.words == ()
    assert "no words" in found.notes[0]


# ---------------------------------------------------------------------- times that are wrong


def cues(*lines: tuple[str, str, str]) -> str:
    return "\n\n".join(f"{start} --> {end}\n{text}" for start, end, text in lines)


def test_cues_that_overlap(tmp_path: Path) -> None:
    found = read(tmp_path, cues(("0:01.0", "0:04.0", "one"), ("0:03.0", "0:05.0", "two")))
    assert timed(found) == [("one", 1.0, 3.0), ("two", 3.0, 5.0)]
    assert "1 cue overlapped" in found.notes[0]


def test_two_speakers_at_once(tmp_path: Path) -> None:
    found = read(tmp_path, cues(("0:01.0", "0:04.0", "one"), ("0:01.0", "0:03.0", "two")))
    assert timed(found) == [("one", 1.0, 2.5), ("two", 2.5, 4.0)]


def test_cues_out_of_order(tmp_path: Path) -> None:
    found = read(tmp_path, cues(("0:05.0", "0:06.0", "two"), ("0:01.0", "0:02.0", "one")))
    assert text_of(found) == "one two"


def test_cues_outside_of_the_medium(tmp_path: Path) -> None:
    text = cues(
        ("-0:05.0", "-0:04.0", "gone"),
        ("-0:01.0", "0:01.0", "first"),
        ("0:09.0", "0:12.0", "last"),
        ("0:12.0", "0:13.0", "gone"),
        ("0:05.0", "0:04.0", "gone"),
    )
    found = read(tmp_path, text)
    assert timed(found) == [("first", 0.0, 1.0), ("last", 9.0, 10.0)]
    starts = {note.partition(" the ")[0].partition(" before")[0] for note in found.notes}
    assert starts == {"1 cue ended", "2 cues began", "2 cues ended after"}


def test_a_transcript_of_another_medium(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 1 cue"):
        read(tmp_path, cues(("1:00.0", "1:01.0", "one")))


def test_cues_with_damaged_times(tmp_path: Path) -> None:
    found = read(tmp_path, cues(("0:01.0", "0:02.0", "one"), ("0:0x", "0:03.0", "lost")))
    assert text_of(found) == "one"
    assert "1 cue" in found.notes[-1]
    with pytest.raises(DataError, match="no cue whose times"):
        read(tmp_path, "1\nten --> eleven\none\n")


# ---------------------------------------------------------------------- JSON

WORDS = [
    {"word": " I", "start": 1.0, "end": 1.5, "probability": 0.75},
    {"word": " see", "start": 1.5, "end": 2.0, "probability": 0.5},
]
EXPECTED = [("I", 1.0, 1.5), ("see", 1.5, 2.0)]


@pytest.mark.parametrize(
    "values",
    [
        WORDS,
        {"words": WORDS},
        {"text": "I see", "segments": [{"start": 1, "end": 2, "text": "I see", "words": WORDS}]},
        {"segments": [{"words": WORDS[:1]}, {"words": WORDS[1:]}]},
        [{"text": "I", "start": 1, "end": 1.5}, {"text": "see", "start": 1.5, "end": 2}],
    ],
)
def test_json(tmp_path: Path, values: Any) -> None:
    found = read(tmp_path, json.dumps(values))
    assert timed(found) == EXPECTED
    assert found.notes == ()


def test_probabilities_of_json(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps(WORDS))
    assert [word.probability for word in found.words] == [0.75, 0.5]


def test_segments_without_words(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps({"segments": [{"start": 1, "end": 3, "text": "I see it"}]}))
    assert timed(found) == [("I", 1.0, 1.333), ("see", 1.333, 2.333), ("it", 2.333, 3.0)]
    assert "1 cue" in found.notes[0]


def test_words_without_times_lie_between_their_neighbours(tmp_path: Path) -> None:
    # as whisperx writes numbers
    values = [
        {"word": "in", "start": 1, "end": 2},
        {"word": "1999"},
        {"word": "we", "start": 3, "end": 4},
    ]
    found = read(tmp_path, json.dumps({"segments": [{"words": values}]}))
    assert timed(found) == [("in", 1.0, 2.0), ("1999", 2.0, 3.0), ("we", 3.0, 4.0)]


def test_json3(tmp_path: Path) -> None:
    values = {
        "wireMagic": "pb3",
        "events": [
            {"tStartMs": 0, "dDurationMs": 9000, "id": 1},
            {
                "tStartMs": 1000,
                "dDurationMs": 2000,
                "segs": [{"utf8": "so"}, {"utf8": " we", "tOffsetMs": 500}],
            },
            {"tStartMs": 3000, "segs": [{"utf8": "\n"}]},
        ],
    }
    assert timed(read(tmp_path, json.dumps(values))) == [("so", 1.0, 1.5), ("we", 1.5, 3.0)]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"segments": 5}',
        '{"title": "x"}',
        '{"words": [{"word": "a"}, {"word": "b"}]}',
        "[1, 2]".replace("[1", "[ 1"),
        '[{"start": 1, "end": 2}]',
        '[{"word": "a", "start": NaN, "end": 2}]',
        '[{"word": "a", "start": "1", "end": "2"}]',
        '{"segments": ' + "[" * 100_000,
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError):
        read(tmp_path, content)


def test_a_transcript_without_segments_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, '{"text": "", "segments": []}').words == ()


def test_entries_that_are_no_words_are_counted(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps([*WORDS, 7, {"start": 3, "end": 4}]))
    assert timed(found) == EXPECTED
    assert "2 parts" in found.notes[-1]


# ---------------------------------------------------------------------- plain text


def test_plain_text_is_spread_over_speech(tmp_path: Path) -> None:
    regions = np.array([(1.0, 3.0), (6.0, 8.0)])
    found = read(tmp_path, "ANN: abcd\nefgh ijkl mnop", regions=regions)
    assert timed(found) == [
        ("abcd", 1.0, 2.0),
        ("efgh", 2.0, 3.0),
        ("ijkl", 6.0, 7.0),
        ("mnop", 7.0, 8.0),
    ]
    assert "estimates" in found.notes[0]


def test_plain_text_without_regions_fills_the_medium(tmp_path: Path) -> None:
    nothing = np.zeros((0, 2))
    for found in (read(tmp_path, "ab cd"), read(tmp_path, "ab cd", regions=nothing)):
        assert timed(found) == [("ab", 0.0, 5.0), ("cd", 5.0, 10.0)]
        assert "whole medium" in found.notes[0]


def test_plain_text_in_a_medium_without_length(tmp_path: Path) -> None:
    assert timed(read(tmp_path, "ab cd", 0.0)) == [("ab", 0.0, 0.0), ("cd", 0.0, 0.0)]


# ---------------------------------------------------------------------- files


def test_damage_ends_in_words_in_order_or_in_one_message(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    starts = [SRT, json.dumps({"segments": [{"words": WORDS}, *WORDS]}), "some plain text"]
    parts = [b"-", b"9999999999", b":", b"-->", b"null", b"[", b"{", b"\n", b"1e400", b"NaN", b"<"]
    read_well = 0
    for _ in range(400):
        content = str(rng.choice(starts)).encode()
        for _ in range(3):
            at = int(rng.integers(len(content)))
            until = at + int(rng.integers(9))
            content = content[:at] + bytes(rng.choice(parts)) + content[until:]
        try:
            found = read(tmp_path, content)
        except DataError:
            continue

        read_well += 1
        times = np.array([(word.start, word.end) for word in found.words]).reshape(-1)
        assert (np.diff(times) >= 0).all(), content
        assert all(0 <= time <= 10 for time in times), content
    assert 100 < read_well < 400


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\n",
        b"\xef\xbb\xbf",
        b"\x00\x01\x02",
        b"\xff\xfea",
        b"\x81\x8d\x8f",
        b"ID3\x00\x00",
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError):
        read(tmp_path, content)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_transcript(tmp_path / "no.srt", 1.0)
    with pytest.raises(DataError, match="a folder"):
        read_transcript(tmp_path, 1.0)


def test_codes_of_a_terminal_are_no_words(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps([{"text": "\x1b[31mred\x07", "start": 1, "end": 2}]))
    assert text_of(found) == "[31mred"
    subtitle = "0:01.0 --> 0:02.0\n\x1bgo\x00on"
    with pytest.raises(DataError, match="zero characters"):
        read(tmp_path, subtitle)
    assert text_of(read(tmp_path, subtitle.replace("\x00", "\x9b"))) == "go on"
