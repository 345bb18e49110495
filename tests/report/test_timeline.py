"""What is written of a video: subtitles, rows, lines, a page that loads and runs nothing else."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from emotailor.data.sample import Modality
from emotailor.errors import DataError
from emotailor.report.timeline import Served, timeline_page
from emotailor.report.timelines import (
    Listed,
    address_from,
    read_timeline,
    write_index,
    write_timeline,
)
from emotailor.report.transcript import shares_of
from emotailor.runs.timelines import (
    render_timeline,
    srt_of,
    summary_of,
    timeline_cells,
    timeline_header,
)
from emotailor.serving.curves import Curve
from emotailor.serving.prediction import Explanation, Failure
from emotailor.serving.timeline import Moment, Timeline
from tests.serving.test_timeline import made

SCRIPT = "<script>alert(1)</script>"
FORMULA = "=HYPERLINK(1)"


def timeline(*moments: Moment, source: str = "clips/one.mp4", **changes: object) -> Timeline:
    labels = ("happy", "sad")
    fields: dict[str, object] = {
        "source": source,
        "duration": 20.0,
        "label_names": labels,
        "thresholds": dict.fromkeys(labels, 0.5),
        "model": "tailor, trained on words",
        "evidence": ("text",),
        "notes": ("The model reads words alone.",),
        "moments": moments,
    }
    return Timeline(**{**fields, **changes})  # type: ignore[arg-type]


def failure(start: float) -> Moment:
    return Moment(start, start + 1, (), Failure("one[9]", DataError("no words")))


def words_to(moment: Moment, end: float) -> Moment:
    return Moment(moment.start, end, moment.words, moment.outcome)


# ---------------------------------------------------------------------- subtitles


def test_subtitles_by_hand() -> None:
    """The second overlaps the first, the third holds nothing, and the last is an hour later."""
    first = words_to(made({"happy": 0.814, "sad": 0.6}, "a"), 2.5)
    second = words_to(made({"happy": 0.3, "sad": 0.75}, "b", start=2.0), 3.0004)
    third = made({"happy": 0.1, "sad": 0.2}, "c", start=4.0)
    last = words_to(made({"happy": 0.9, "sad": 0.1}, "d", start=3661.9996), 3663.25)
    found = srt_of(timeline(last, first, failure(3.5), second, third))
    assert found == (
        "1\n00:00:00,000 --> 00:00:02,000\nhappy 81 %, sad 60 %\n"
        "\n"
        "2\n00:00:02,000 --> 00:00:03,000\nsad 75 %\n"
        "\n"
        "3\n01:01:02,000 --> 01:01:03,250\nhappy 90 %\n"
    )


def test_a_subtitle_of_no_time_is_left_out() -> None:
    one = made({"happy": 0.9, "sad": 0.1}, "a", start=1.0)
    same = made({"happy": 0.1, "sad": 0.9}, "b", start=1.0)
    found = srt_of(timeline(one, same))
    assert found == "1\n00:00:01,000 --> 00:00:01,500\nsad 90 %\n"
    assert srt_of(timeline()) == ""


def test_a_label_cannot_forge_a_line_of_times() -> None:
    moment = made({"a --> b": 0.9}, "x")
    found = srt_of(timeline(moment, label_names=("a --> b",), thresholds={"a --> b": 0.5}))
    assert found.count("-->") == 1


# ---------------------------------------------------------------------- rows and lines


def test_rows_have_the_columns_of_predictions_and_what_is_said() -> None:
    found = timeline(made({"happy": 0.75, "sad": 0.25}, "so", "great"), failure(5.0))
    header = timeline_header(found.label_names)
    assert header == [
        "id", "source", "start", "end", "text", "p:happy", "p:sad", "happy", "sad",
        "threshold:happy", "threshold:sad", "unseen_steps", "error",
    ]  # fmt: skip
    first, second = (dict(zip(header, row, strict=True)) for row in timeline_cells(found))
    assert (first["start"], first["end"], first["text"]) == ("0.000", "1.000", "so great")
    assert (first["p:happy"], first["happy"], first["sad"]) == ("0.750000", "1", "0")
    assert (second["start"], second["p:happy"], second["error"]) == ("5.000", "", "no words")


def test_cells_that_a_spreadsheet_would_run_are_text() -> None:
    moment = made({"happy": 0.75, "sad": 0.25}, FORMULA, "now")
    ((_, _, _, _, text, *_),) = timeline_cells(timeline(moment))
    assert text == f"'{FORMULA} now"


# ---------------------------------------------------------------------- the terminal


def shown(found: Timeline, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(render_timeline(found))
    return file.getvalue()


def test_the_table_fits_the_terminal() -> None:
    text = "it was a very long and winding road that they took to the sea " * 5
    moment = made(
        {"happy": 0.8143, "sad": 0.2}, *text.split(), drops=[0.0] * 4 + [0.5, 0.4] + [0.0] * 59
    )
    found = timeline(moment, made({"happy": 0.1, "sad": 0.1}, "no", start=75.0), failure(3700.0))
    for width in (80, 60):
        lines = shown(found, width).splitlines()
        assert max(map(len, lines)) <= width
    whole = shown(found)
    assert "happy 0.81" in whole
    assert "because: “long and”" in whole
    assert re.search(r"^ *1:15 +no +- *$", whole, re.MULTILINE)
    assert "1:01:40" in whole
    assert "not predicted: no words" in whole
    assert "note: The model reads words alone." in whole
    # every word is there
    said = re.sub(r"\s+", " ", whole)
    assert said.count("winding") == 5


def test_codes_of_a_terminal_are_made_visible() -> None:
    moment = made({"happy": 0.8, "sad": 0.2}, "\x1b[2Jgone", "[bold]x")
    found = shown(timeline(moment, source="a\x1b]0;t.mp4"))
    assert "\x1b" not in found
    assert "\\u001b[2Jgone" in found
    assert "[bold]x" in found


# ---------------------------------------------------------------------- the page


class Parsed(HTMLParser):
    """The tags of a page with their attributes, and the text in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def hostile() -> Timeline:
    moment = made({"happy": 0.8, "sad": 0.2}, SCRIPT, '"><img/src=x>', drops=[0.9, -0.45])
    curve = Curve("smile", "face", "", 5.0, (0.1, None, 0.4, 0.5))
    return timeline(
        moment, failure(5.0), source=f"clips/{SCRIPT}#?.mp4", curves=(curve,), notes=(SCRIPT,)
    )


@pytest.mark.parametrize("video", ["", "../one%20two.mp4"])
def test_names_and_words_are_no_markup(video: str) -> None:
    page = Parsed(timeline_page(hostile(), video).to_html())
    assert len(page.of("script")) == 1
    assert page.of("img") == []
    assert SCRIPT in page.text
    assert '"><img/src=x>' in page.text


def test_the_page_refers_to_nothing_but_the_video() -> None:
    text = timeline_page(hostile(), "../one%20two.mp4").to_html()
    page = Parsed(text)
    sources = {
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "poster", "xlink:href", "srcset")
    }
    assert {s for s in sources if s and not s.startswith(("#", "../one%20two.mp4"))} == set()
    assert "../one%20two.mp4#t=0.00" in sources
    assert "@import" not in text
    assert "url(" not in text
    assert "http" not in text.replace("http-equiv", "")

    policy = next(m["content"] for m in page.of("meta") if "content" in m and m.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)
    assert re.search(r"style-src 'sha256-[\w+/]{43}='", policy)
    # attributes place things, and load nothing
    assert policy.replace("style-src-attr 'unsafe-inline'", "").count("unsafe") == 0


def test_without_a_video_nothing_is_loaded_and_nothing_links_away() -> None:
    page = Parsed(timeline_page(hostile()).to_html())
    assert page.of("video") == []
    assert all(str(a["href"]).startswith("#") for a in page.of("a"))
    policy = next(m["content"] for m in page.of("meta") if m.get("http-equiv"))
    assert policy is not None
    assert "media-src" not in policy


def test_words_have_the_strength_of_their_evidence_for_each_emotion() -> None:
    """Of the largest evidence for a label in the video, which has the full colour."""
    one = made({"happy": 0.8, "sad": 0.2}, "a", "b", "c", drops=[0.8, -0.4, 0.001])
    two = made({"happy": 0.7, "sad": 0.6}, "d", start=4.0, drops=[0.2])
    page = Parsed(timeline_page(timeline(one, two)).to_html())
    words = [a["style"] for a in page.of("span") if a.get("class") == "w"]
    assert words == ["--p0:1.00;--p1:1.00", "--n0:0.50;--n1:0.50", "--p0:0.25;--p1:0.25"]

    # what holds most often is chosen at first, without any script
    chosen = [a for a in page.of("input") if "checked" in a]
    assert [a["id"] for a in chosen] == ["e0"]
    style = next(text for text in page.text if ".moment" in text)
    assert ".w { --p: var(--p0, 0); --n: var(--n0, 0); }" in style
    assert (
        ":is(.plain:has(#e1:checked), .chosen1) .w { --p: var(--p1, 0); --n: var(--n1, 0); }"
        in style
    )


def test_bars_stand_where_and_as_high_as_they_should() -> None:
    one = words_to(made({"happy": 0.8, "sad": 0.2}, "a", start=5.0), 10.0)
    page = Parsed(timeline_page(timeline(one)).to_html())
    happy, sad = (a for a in page.of("rect") if a["width"] != "100%")
    # the video has 20 s, and the charts reach up to 0.9
    assert (happy["x"], happy["width"], happy["class"]) == ("250.0", "250.0", "yes")
    assert (happy["height"], sad["height"]) == ("88.9", "22.2")
    assert sad["class"] == "no"
    (limit, *_) = (a for a in page.of("line") if a["x2"] == "1000")
    assert limit["y1"] == "44.4"


def test_a_curve_has_gaps() -> None:
    page = Parsed(timeline_page(hostile()).to_html())
    (path,) = page.of("path")
    assert path["d"] == "M125.0 90.0h0M625.0 60.0h0L875.0 50.0"
    (row,) = (a for a in page.of("div") if a.get("data-name") == "smile")
    assert row["data-values"] == "0.10,,0.40,0.50"


def gaps_of(found: Timeline, name: str) -> list[tuple[str, str]]:
    """Where a chart says that there is nothing, and why."""
    text = timeline_page(found).to_html()
    _, _, row = text.partition(f'data-name="{name}"')
    chart = row.partition('class="now"')[0]
    return re.findall(r'class="gap[^"]*" style="([^"]+)"[^>]*><span>([^<]*)<', chart)


def test_where_nobody_speaks_or_nothing_is_predicted_the_chart_says_so_there() -> None:
    """A pause of less than a second is none; what fails for one reason in a row is one stretch."""
    said = words_to(made({"happy": 0.8, "sad": 0.2}, "a", start=1.5), 6.0)
    next_one = words_to(made({"happy": 0.8, "sad": 0.2}, "b", start=6.5), 8.0)
    found = timeline(said, next_one, failure(8.0), failure(9.0))
    for label in ("happy", "sad"):
        assert gaps_of(found, label) == [
            ("left:0.00%;width:7.50%", "no speech"),
            ("left:40.00%;width:10.00%", "no words"),
            ("left:50.00%;width:50.00%", "no speech"),
        ]


def test_where_no_face_is_seen_and_no_sound_is_heard_curves_say_so_there() -> None:
    seen = Curve("smile", "face", "", 1.0, (None,) * 2 + (0.5,) * 8 + (None,) * 5 + (0.25,) * 5)
    heard = Curve("energy", "voice", "dB", 1.0, (-100.0,) * 4 + (-20.0,) * 15 + (None,))
    pitch = Curve("pitch", "voice", "Hz", 1.0, (None,) * 15 + (100.0,) * 5)
    found = timeline(curves=(seen, heard, pitch))
    assert gaps_of(found, "smile") == [
        ("left:0.00%;width:10.00%", "no face"),
        ("left:50.00%;width:25.00%", "no face"),
    ]
    assert gaps_of(found, "energy") == [
        ("left:0.00%;width:20.00%", "no sound"),
        ("left:95.00%;width:5.00%", "no sound"),
    ]
    assert gaps_of(found, "pitch") == []


def test_what_was_not_looked_at_is_said_in_place_of_its_curves() -> None:
    found = timeline(picture=False)
    assert gaps_of(found, "face") == [("left:0.00%;width:100.00%", "no pictures")]
    assert gaps_of(found, "voice") == [("left:0.00%;width:100.00%", "no sound was listened to")]
    ((_, why),) = gaps_of(timeline(), "face")
    assert why == "no face was looked for"


def explained(*drops: float) -> Moment:
    """An utterance with evidence of all modalities: for the first label, against the second."""
    names: tuple[Modality, ...] = ("visual", "audio", "text")
    why = Explanation(
        {
            "happy": dict(zip(names, drops, strict=True)),
            "sad": {m: -drop for m, drop in zip(names, drops, strict=True)},
        },
        {"happy": {"text": np.array([0.5])}, "sad": {"text": np.array([-0.5])}},
        {},
        {"text": 1},
        {"text": ["oh"]},
    )
    plain = made({"happy": 0.75, "sad": 0.25}, "oh")
    found = plain.prediction
    assert found is not None
    return replace(plain, outcome=replace(found, explanation=why))


def test_modalities_share_what_speaks_for_a_label() -> None:
    assert shares_of({"visual": 0.6, "audio": -0.5, "text": 0.2}) == pytest.approx(
        {"visual": 0.75, "audio": 0.0, "text": 0.25}
    )
    # what cannot be seen in two digits is none
    assert shares_of({"visual": 0.004, "text": -1.0}) == {"visual": 0.0, "text": 0.0}

    found = timeline(explained(0.6, -0.5, 0.2), evidence=("visual", "audio", "text"))
    text = timeline_page(found).to_html()
    happy, sad = re.findall(r'<p class="shares of\d">(.*?)</p>', text)
    assert re.findall(r"flex-grow:([\d.]+)", happy) == ["0.750", "0.250"]
    assert re.sub("<[^>]*>", " ", happy).split() == [
        "for", "happy", "face", "75%", "voice:", "against", "it", "words", "25%",
    ]  # fmt: skip
    assert re.findall(r"flex-grow:([\d.]+)", sad) == ["1.000"]
    assert ":is(.plain:has(#e1:checked), .chosen1) .of1 { display: flex; }" in text

    faint = timeline(explained(0.004, -0.004, 0.0), evidence=("visual", "audio", "text"))
    text = timeline_page(faint).to_html()
    assert text.count("no evidence that can be seen in two digits") == 2


def test_a_model_of_words_alone_has_no_bars_of_shares_and_says_so_once() -> None:
    text = timeline_page(timeline(explained(0.0, 0.0, 1.0), explained(0.0, 0.0, 2.0))).to_html()
    assert 'class="shares' not in text
    assert text.count("All evidence is from the words.") == 1


def test_emotions_that_do_not_hold_wait_for_other_thresholds() -> None:
    """Numbers are as exact as the program has them, so that a script decides as it does."""
    p = 0.1 + 0.2
    found = timeline(made({"happy": p, "sad": 0.75}, "a"), thresholds={"happy": p, "sad": 0.7})
    page = Parsed(timeline_page(found).to_html())
    (moment,) = (a for a in page.of("li") if a.get("class") == "moment")
    assert moment["data-p"] == "0.30000000000000004 0.75"
    emotions = [(a["data-label"], "hidden" in a) for a in page.of("li") if "data-label" in a]
    assert emotions == [("1", False), ("0", True)]
    sliders = [a["data-threshold"] for a in page.of("input") if a["type"] == "range"]
    assert sliders == ["0.30000000000000004", "0.7"]
    # without a script they would do nothing
    (first, *_) = (a for a in page.of("span") if a.get("class") == "threshold")
    assert "hidden" in first


def test_a_service_says_where_the_video_and_the_downloads_are() -> None:
    served = Served("/v1/videos/7/media", {"JSON": "/v1/videos/7/timeline.json"}, "/")
    moment = made({"happy": 0.8, "sad": 0.2}, "a", start=2.5)
    page = Parsed(timeline_page(timeline(moment), served=served).to_html())
    assert [a["src"] for a in page.of("video")] == ["/v1/videos/7/media"]
    links = [a["href"] for a in page.of("a") if not str(a["href"]).startswith("#")]
    assert links == [
        "/v1/videos/7/media", "/", "/v1/videos/7/timeline.json", "/v1/videos/7/media#t=2.50",
    ]  # fmt: skip


def test_a_video_of_nothing_has_a_page() -> None:
    page = Parsed(timeline_page(timeline(duration=0.0)).to_html())
    assert "No utterance could be predicted." in page.text
    assert "No utterances." in page.text


def test_addresses_are_paths_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "day 1"
    for name, address in {
        "one two.mp4": "../../one%20two.mp4",
        "javascript:alert(1).mp4": "../../javascript%3Aalert%281%29.mp4",
        'a"#?.mp4': "../../a%22%23%3F.mp4",
    }.items():
        assert address_from(folder, tmp_path / name) == address


# ---------------------------------------------------------------------- files


def test_the_files_of_a_video(tmp_path: Path) -> None:
    found = timeline(
        made({"happy": 0.75, "sad": 0.25}, "so", "great"), source=str(tmp_path / "one.mp4")
    )
    files = write_timeline(found, tmp_path / "out", "day 1/one")
    assert [f.name for f in files] == ["one.html", "one.srt", "one.csv", "one.json"]
    assert {f.name for f in (tmp_path / "out" / "day 1").iterdir()} == {f.name for f in files}
    again = read_timeline(tmp_path / "out", "day 1/one")
    assert again.to_json() == found.to_json()
    page = Parsed(files[0].read_text(encoding="utf-8"))
    assert [v["src"] for v in page.of("video")] == ["../../one.mp4"]
    rows = list(csv.reader(files[2].read_text(encoding="utf-8").splitlines()))
    assert [len(row) for row in rows] == [13, 13]

    files = write_timeline(found, tmp_path / "few", "one", forms=["srt"], video=False)
    assert [f.name for f in files] == ["one.srt", "one.json"]


def test_a_damaged_timeline_is_not_read(tmp_path: Path) -> None:
    *_, file = write_timeline(timeline(made({"happy": 0.75, "sad": 0.25}, "a")), tmp_path, "one")
    file.write_text(file.read_text(encoding="utf-8").replace("0.75", "0.85"), encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_timeline(tmp_path, "one")
    assert "damaged" in error.value.found


def test_names_of_bytes_that_are_no_characters(tmp_path: Path) -> None:
    moment = made({"happy": 0.75, "sad": 0.25}, "a\ud800b")
    found = timeline(moment, source="clips/\udcff.mp4")
    write_timeline(found, tmp_path, "one")
    again = read_timeline(tmp_path, "one")
    assert (again.source, again.moments[0].text) == ("clips/?.mp4", "a?b")
    assert "a\\ud800b" in (tmp_path / "one.csv").read_text(encoding="utf-8")
    assert "%FF.mp4" in (tmp_path / "one.html").read_text(encoding="utf-8")


def test_an_index_of_many_videos(tmp_path: Path) -> None:
    for number in range(3):
        moment = made({"happy": 0.75, "sad": 0.25}, "so", "great", start=float(number))
        write_timeline(timeline(moment, failure(9.0)), tmp_path, f"v{number}")
    listed = [Listed("v0"), Listed("v1", ["csv"]), Listed("v2"), Listed("bad", (), SCRIPT)]
    names = [file.name for file in write_index(tmp_path, listed).files]
    assert names == ["timelines.csv", "timelines.jsonl", "index.html"]

    table = (tmp_path / "timelines.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert [row["start"] for row in rows] == ["0.000", "9.000", "1.000", "9.000", "2.000", "9.000"]
    lines = (tmp_path / "timelines.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["moments"][0]["start"] for line in lines] == [0, 1, 2]

    page = Parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    links = {a["href"] for a in page.of("a")}
    assert {"v0.html", "v0.srt", "v0.csv", "v0.json", "v1.csv", "v1.json"} <= links
    assert "v1.html" not in links
    assert page.of("script") == []
    assert f"failed: {SCRIPT}" in page.text


def test_where_nothing_is_predicted_that_is_said_in_place_of_zeros(tmp_path: Path) -> None:
    nothing = timeline(failure(0.0), failure(3.0))
    assert nothing.lack == "no words"
    assert summary_of(nothing).endswith("2 utterances; nothing is predicted: no words")
    write_timeline(nothing, tmp_path, "mute")
    some = timeline(made({"happy": 0.25, "sad": 0.25}, "so"), failure(9.0))
    assert some.lack == ""
    write_timeline(some, tmp_path, "said")

    index = write_index(tmp_path, [Listed("mute"), Listed("said")])
    assert index.lacks == {"mute": "no words"}
    page = Parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert page.text.count("nothing is predicted: no words") == 1
    assert "No words." in Parsed((tmp_path / "mute.html").read_text(encoding="utf-8")).text
    assert (tmp_path / "mute.srt").read_text() == ""


def test_an_index_of_two_models_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    write_timeline(timeline(made({"happy": 0.75, "sad": 0.25}, "a")), tmp_path, "one")
    other = timeline(made({"fear": 0.75}, "a"), label_names=("fear",), thresholds={"fear": 0.5})
    write_timeline(other, tmp_path, "two")
    with pytest.raises(DataError):
        write_index(tmp_path, [Listed("one"), Listed("two")])
    assert not list(tmp_path.glob("timelines*"))
    assert not (tmp_path / "index.html").exists()
