"""The page of a video in a real browser, from a file: reading, keys, thresholds, no player."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emotailor.report.timeline import Served, timeline_page
from emotailor.serving.curves import Curve
from emotailor.serving.timeline import Moment, Timeline
from tests.browser import Watched, browser, opened, serious_faults
from tests.report.test_timeline import explained, failure, timeline, words_to
from tests.serving.test_timeline import made

ALL = ("visual", "audio", "text")
LABELS = ("happy", "sad")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


def said() -> tuple[Moment, ...]:
    """Three utterances with predictions, one without; one p is a threshold to the last digit."""
    first = words_to(explained(0.6, -0.5, 0.2), 4.0)
    second = words_to(made({"happy": 0.3, "sad": 0.6}, "oh", "no", start=5.0), 8.0)
    third = words_to(made({"happy": 0.1 + 0.2, "sad": 0.2}, "so", "so", start=8.0), 11.0)
    return first, second, third, failure(12.0)


def whole(**changes: Any) -> Timeline:
    curve = Curve("smile", "face", "", 5.0, (0.1, None, 0.4, 0.5))
    return timeline(*said(), evidence=ALL, curves=(curve,), **changes)


def shown(chromium: Any, folder: Path, found: Timeline, **more: Any) -> Watched:
    file = folder / "page.html"
    file.write_text(timeline_page(found, **more).to_html(), encoding="utf-8")
    return opened(chromium, file)


def state(page: Any) -> tuple[Any, ...]:
    """All that thresholds decide."""
    bars = [bar.get_attribute("class") for bar in page.locator(".row rect").all()]
    emotions = [item.inner_text() for item in page.locator(".emotions").all()]
    counts = page.locator(".row[data-label] .value > span:first-child").all_inner_texts()
    limits = [line.get_attribute("y1") for line in page.locator(".row .limit").all()]
    return bars, emotions, counts, limits, page.locator(".verdict").inner_text()


def test_a_pointer_reads_time_and_value(chromium: Any, tmp_path: Path) -> None:
    page = shown(chromium, tmp_path, whole()).page
    track = page.locator(".row[data-name=happy] .track")
    width = track.bounding_box()["width"]
    readout = page.locator(".readout:visible")
    for share, told in {
        0.12: ["0:02", "happy 0.75, above 0.50", "“oh”"],
        0.32: ["0:06", "happy 0.30, not above 0.50", "“oh no”"],
        0.58: ["0:11", "happy: no speech"],
        0.62: ["0:12", "happy: not predicted: no words", "“nothing is said”"],
    }.items():
        track.hover(position={"x": share * width, "y": 20})
        assert readout.inner_text().splitlines() == told

    smile = page.locator(".row[data-name=smile] .track")
    smile.hover(position={"x": 0.62 * width, "y": 20})
    assert readout.inner_text().splitlines()[:2] == ["0:12", "smile 0.40"]
    smile.hover(position={"x": 0.42 * width, "y": 20})
    assert readout.inner_text().splitlines()[:2] == ["0:08", "smile: no face"]
    page.mouse.move(0, 0)
    assert readout.count() == 0


def test_keys_go_from_utterance_to_utterance_and_are_told(chromium: Any, tmp_path: Path) -> None:
    watched = shown(chromium, tmp_path, whole())
    page = watched.page
    first = page.locator(".row[data-name=happy] .track")
    first.focus()

    def told() -> tuple[str, str]:
        focused = page.locator(":focus")
        return focused.get_attribute("aria-label"), focused.get_attribute("aria-valuetext")

    watched.pressed("ArrowRight")
    assert told() == ("happy over time", "0:00, happy 0.75, above 0.50: oh")
    watched.pressed("ArrowRight", "ArrowRight", "ArrowDown")
    assert told() == ("sad over time", "0:08, sad 0.20, not above 0.50: so so")
    watched.pressed("End")
    assert told()[1] == "0:12, sad: not predicted: no words: nothing is said"
    watched.pressed("ArrowLeft", "ArrowLeft")
    assert told()[1].startswith("0:05, sad 0.60, above 0.50")
    assert page.locator(".moment[aria-current]").get_attribute("data-start") == "5.000"
    # one stop for each group of charts
    assert page.locator(".track[tabindex='0']").count() == 2


def test_thresholds_decide_at_once_and_by_the_rule_of_the_program(
    chromium: Any, tmp_path: Path
) -> None:
    """A probability that is the threshold is not above it; the reset is exact."""
    exact = whole(thresholds={"happy": 0.1 + 0.2, "sad": 0.5})
    watched = shown(chromium, tmp_path, exact)
    page = watched.page
    page.locator("[role=slider]").first.wait_for()
    sad = page.locator(".row[data-name=sad] input")
    happy = page.locator(".row[data-name=happy] input")
    assert page.locator(".row[data-name=happy] .yes").count() == 1
    before = state(page)

    sad.fill("0.2")
    assert sad.get_attribute("aria-valuetext") == "0.20, holds in 2 of 3"
    happy.fill("0.3")  # below 0.1 + 0.2, which is not 0.3
    bars, emotions, counts, limits, verdict = state(page)
    assert bars == ["yes", "no", "yes", "yes", "yes", "no"]
    assert counts == ["2 of 3", "2 of 3"]
    assert limits == ["62.5", "75.0"]  # of charts that reach up to 0.8
    assert [text.splitlines()[0] for text in emotions] == [
        "happy 0.75 because: the face, “oh”", "sad 0.60", "happy 0.30", "not predicted: no words",
    ]  # fmt: skip
    assert re.split(r"\n+", verdict) == ["Happy in 2 of 3 utterances.", "Also sad in 2."]

    happy.fill("1")
    sad.fill("0.99")
    assert page.locator(".moved").inner_text() == (
        "Moved: happy 1.00 instead of 0.30, sad 0.99 instead of 0.50."
    )
    assert state(page)[4] == "No emotion holds in any of 3 utterances."
    assert state(page)[1][:3] == ["no emotion"] * 3

    page.get_by_role("button", name="Reset thresholds").click()
    assert state(page) == before
    assert page.locator("button:enabled").count() == 0
    assert watched.faults == []


def test_the_script_says_the_same_as_the_program(chromium: Any, tmp_path: Path) -> None:
    found = whole()
    file = tmp_path / "plain.html"
    file.write_text(timeline_page(found).to_html(), encoding="utf-8")
    plain = opened(chromium, file, java_script_enabled=False).page
    scripted = opened(chromium, file).page
    assert state(plain) == state(scripted)
    # without a script nothing is offered that would do nothing
    assert plain.locator("input[type=range]:visible").count() == 0
    assert plain.locator("button:visible").count() == 0
    assert scripted.locator("input[type=range]:visible").count() == 2


def test_shares_and_words_are_those_of_the_chosen_emotion(chromium: Any, tmp_path: Path) -> None:
    page = shown(chromium, tmp_path, whole()).page
    page.get_by_role("radio", name="happy").check(force=True)
    shares = page.locator(".shares:visible")
    assert shares.inner_text().split("\n") == [
        "for happy",
        "face 75%",
        "voice: against it",
        "words 25%",
    ]
    colour = "getComputedStyle(document.querySelector('.w')).borderBottomWidth"
    strong = page.evaluate(colour)
    page.get_by_role("radio", name="sad").check(force=True)
    assert shares.inner_text().split("\n") == [
        "for sad",
        "face: against it",
        "voice 100%",
        "words: against it",
    ]
    assert (strong, page.evaluate(colour)) != ("0px", strong)


@pytest.mark.parametrize("served", [False, True])
def test_without_a_player_the_rest_stands_and_says_so(
    chromium: Any, tmp_path: Path, served: bool
) -> None:
    """Nothing links into a video that cannot be shown."""
    (tmp_path / "gone.avi").write_bytes(b"RIFF....AVI ")
    where = Served("gone.avi") if served else None
    page = shown(chromium, tmp_path, whole(), video="gone.avi", served=where).page
    page.locator(".unplayed").wait_for()
    assert page.locator("video").is_hidden()
    assert "cannot" in page.locator(".unplayed").inner_text()
    assert page.locator("a[href*=gone]:visible").count() == 0
    assert ("beside this page" in page.locator(".unplayed").inner_text()) is not served

    # a place in a chart leads to what is said then
    page.locator(".row[data-name=sad] .track").click(position={"x": 1, "y": 5})
    assert page.locator(".moment.current .told").inner_text() == "oh"


def test_downloads_carry_the_thresholds_that_were_moved(chromium: Any, tmp_path: Path) -> None:
    found = whole(
        label_names=("a&b: c", "sad"),
        moments=(made({"a&b: c": 0.4, "sad": 0.6}, "x"),),
        thresholds={"a&b: c": 0.5, "sad": 0.5},
    )
    page = shown(chromium, tmp_path, found, served=Served("x.mp4", {"CSV": "t.csv"})).page
    link = page.get_by_role("link", name="CSV")
    assert link.get_attribute("href") == "t.csv"
    page.locator("input[type=range]").first.fill("0.25")
    assert link.get_attribute("href") == "t.csv?threshold=a%26b%3A%20c%3A0.25"
    page.get_by_role("button", name="Reset thresholds").click()
    assert link.get_attribute("href") == "t.csv"


def test_no_serious_fault_and_no_request(chromium: Any, tmp_path: Path) -> None:
    watched = shown(chromium, tmp_path, whole())
    assert serious_faults(watched.page) == []
    assert watched.faults == []
    assert [address for address in watched.asked if not address.endswith("/page.html")] == []


def test_a_video_of_nothing_runs_without_a_fault(chromium: Any, tmp_path: Path) -> None:
    watched = shown(chromium, tmp_path, timeline(duration=0.0))
    page = watched.page
    page.locator(".row[data-name=happy] .track").click()
    watched.pressed("ArrowRight", "ArrowLeft", "End", "Enter")
    assert page.locator("input[type=range]:visible").count() == 0
    assert page.locator(".verdict .first").inner_text() == "No utterance could be predicted."
    assert watched.faults == []
