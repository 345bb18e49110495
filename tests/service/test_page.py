"""The page in a real browser, from a real server: clips go up, pages come back, nothing else."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser import WAIT, Watched, browser, opened, serious_faults
from tests.extraction.sounds import CLIP, need_video
from tests.runs.runs import run_cli

TOKEN = "a-token-of-the-tests-that-nobody-guesses"
SECONDS = 12.3
"""Of the clip: two utterances."""


def until(holds: Callable[[], Any]) -> Any:
    """Return what is true at last; the policy of the pages lets nobody wait inside of them."""
    end = time.monotonic() + WAIT / 1000
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come true")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start the command `emotailor serve`, and end it."""
    pytest.importorskip("fastapi")
    need_video()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "EMOTAILOR_TOKEN": TOKEN}
    command = [sys.executable, "-m", "emotailor", "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, f"{line} {process.stderr.read() if process.stderr else ''}"
            yield found[0].rstrip("/")
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def clip(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of a real clip, in a folder of its own."""
    from tests.extraction.videos import beginning_of

    folder = tmp_path_factory.mktemp("clip")
    return beginning_of(shared_data / CLIP, folder / "a clip & more.mp4", SECONDS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def visitor(chromium: Any, address: str) -> Watched:
    """Somebody who gave the token, after a wrong one."""
    watched = opened(chromium, address)
    page = watched.page
    assert urlsplit(page.url).path == "/login"
    assert serious_faults(page) == []
    page.set_viewport_size({"width": 1280, "height": 900})
    token = page.get_by_label("token")
    token.fill("another")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("alert").get_by_text("another token").wait_for()
    # a browser calls every refused request an error
    watched.faults.clear()
    token.fill(TOKEN)
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("heading", name="Drop a clip").wait_for()
    return watched


@pytest.fixture(scope="module")
def result(visitor: Watched, clip: Path, address: str) -> Watched:
    """The page of the clip: who uploads a single one is led to it."""
    page = visitor.page
    assert serious_faults(page) == []
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("#files").set_input_files(clip)
    page.get_by_role("button", name=f"Cancel {clip.name}").wait_for()
    page.wait_for_url("**/videos/*")
    page.locator(".track[role=slider]").first.wait_for()
    return visitor


def ready(watched: Watched) -> Any:
    """The page of the clip as it was at first."""
    page = watched.page
    page.reload()
    page.set_viewport_size({"width": 1280, "height": 900})
    until(lambda: page.evaluate("document.querySelector('video').readyState") >= 1)
    return page


def now(page: Any) -> float:
    return float(page.evaluate("document.querySelector('video').currentTime"))


def downloaded(page: Any, name: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name, exact=True).click()
    return Path(waiting.value.path()).read_bytes()


def test_curves_follow_the_video_and_lead_into_it(result: Watched) -> None:
    page = ready(result)
    track = page.locator(".row[data-name=happy] .track")
    width = track.bounding_box()["width"]
    duration = float(page.locator("[data-duration]").first.get_attribute("data-duration"))
    assert duration == pytest.approx(SECONDS, abs=0.3)
    assert page.evaluate("document.querySelector('video').videoWidth") > 0

    track.click(position={"x": 0.25 * width, "y": 9})
    until(lambda: now(page) > 0.25 * duration + 0.1)  # it plays
    assert now(page) < 0.25 * duration + 3
    page.evaluate("document.querySelector('video').pause()")

    first, second = (float(m.get_attribute("data-start")) for m in page.locator(".moment").all())
    page.locator(".moment").nth(1).locator(".told").click()
    until(lambda: now(page) >= second)
    page.evaluate("document.querySelector('video').pause()")
    assert until(lambda: page.locator(".moment.current").count()) == 1
    track.focus()
    result.pressed("Home")
    assert until(lambda: now(page) == pytest.approx(first, abs=0.05))
    assert "My name is" in track.get_attribute("aria-valuetext")


def test_a_threshold_changes_decisions_and_downloads(result: Watched) -> None:
    page = ready(result)
    probabilities = [
        [float(p) for p in moment.get_attribute("data-p").split()]
        for moment in page.locator(".moment").all()
    ]
    names = [row.get_attribute("data-name") for row in page.locator("[data-label].row").all()]
    sad = names.index("sad")
    wanted = min(row[sad] for row in probabilities) / 2
    assert page.locator(".row[data-name=sad] .yes").count() == 0

    slider = page.locator(".row[data-name=sad] input")
    slider.fill(f"{wanted:.2f}")
    assert page.locator(".row[data-name=sad] .yes").count() == len(probabilities)
    assert "sad" in page.locator(".verdict").inner_text().lower()

    moved = json.loads(downloaded(page, "JSON"))
    assert moved["thresholds"]["sad"] == float(slider.input_value())
    for moment in moved["moments"]:
        found = moment["prediction"]
        limits = moved["thresholds"]
        assert found["decisions"] == {k: p > limits[k] for k, p in found["probabilities"].items()}
    page.get_by_role("button", name="Reset thresholds").click()
    assert page.locator(".row[data-name=sad] .yes").count() == 0


def test_words_are_in_the_colour_of_the_chosen_emotion(result: Watched) -> None:
    page = ready(result)
    colours = "[...document.querySelectorAll('.w')].map((w) => getComputedStyle(w).background)"
    page.get_by_role("radio", name="happy").check(force=True)
    happy = page.evaluate(colours)
    page.get_by_role("radio", name="disgust").check(force=True)
    assert len(happy) > 5
    assert page.evaluate(colours) != happy


def test_downloads_are_those_of_the_command_line(
    result: Watched, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And the page to mail plays the clip beside it, and says so where it was mailed alone."""
    page = ready(result)
    monkeypatch.chdir(clip.parent)
    run_cli("predict", clip.name, "--out", "out.json")
    assert downloaded(page, "JSON") == Path("out.json").read_bytes()
    rows = downloaded(page, "CSV").decode("utf-8").splitlines()
    assert len(rows) == 1 + page.locator(".moment").count()
    assert b"-->" in downloaded(page, "SRT") or page.locator(".row .yes").count() == 0

    mailed = downloaded(page, "HTML")
    for folder in (tmp_path, clip.parent):
        (folder / "mailed.html").write_bytes(mailed)
    beside = opened(page.context.browser, clip.parent / "mailed.html")
    until(lambda: beside.page.evaluate("document.querySelector('video').readyState") >= 1)
    alone = opened(page.context.browser, tmp_path / "mailed.html")
    alone.page.locator(".unplayed").wait_for()
    assert alone.page.locator("video").is_hidden()
    assert alone.page.locator("a[href]:not([href^='#']):visible").count() == 0
    assert serious_faults(beside.page) == []
    assert beside.faults == []
    assert beside.elsewhere == alone.elsewhere == []


def test_a_folder_shows_what_holds_in_each_and_what_is_wrong(
    result: Watched, tmp_path: Path
) -> None:
    from tests.extraction.videos import talking

    talking(tmp_path / "silent.mp4")
    (tmp_path / "broken.mp4").write_text("a text, and no video")
    (tmp_path / "notes.txt").write_text("nothing to upload")
    page = result.page
    page.get_by_role("link", name="All videos").click()
    # a proxy may keep events back: then the service is asked
    page.route("**/events", lambda route: route.abort())
    page.locator("#folder").set_input_files(tmp_path)
    page.get_by_text("1 of 3 files").wait_for()

    rows = page.locator(".clip")
    until(lambda: rows.count() == 3)  # the clip, and two of the folder
    page.locator(".clip.failed .error").wait_for()
    failed = page.locator(".clip.failed")
    assert "broken.mp4" in failed.inner_text()
    assert failed.locator("dt").all_inner_texts()[0] == "found"
    assert "tmp" not in failed.inner_text().replace(tmp_path.name, "")
    silent = page.locator(".clip.done", has_text="silent.mp4")
    silent.get_by_text("nothing is predicted: no words").wait_for()
    assert silent.get_by_role("link").all_inner_texts() == ["Open", "JSON", "CSV", "SRT", "HTML"]
    assert serious_faults(page) == []

    silent.get_by_role("link", name="Open").click()
    page.locator(".row[data-name=happy] .gap", has_text="no words").first.wait_for()
    page.go_back()
    page.get_by_role("button", name="Remove what is finished").click()
    until(lambda: rows.count() == 0)
    page.reload()
    page.get_by_text("The model names").wait_for()
    assert rows.count() == 0
    page.unroute("**/events")
    # what a browser says of what was kept back
    result.faults[:] = [fault for fault in result.faults if "ERR_FAILED" not in fault]


DROP = """([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name));
  for (const kind of ["dragenter", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.querySelector("main").dispatchEvent(event);
  }
}"""


def test_a_clip_that_is_dropped_can_be_cancelled(result: Watched, clip: Path, address: str) -> None:
    page = result.page
    page.goto(address)
    page.get_by_text("The model names").wait_for()
    before = page.locator(".clip").count()
    page.evaluate(DROP, ["dropped.mp4", base64.b64encode(clip.read_bytes()).decode("ascii")])
    row = page.locator(".clip", has_text="dropped.mp4")
    row.get_by_text("looking and listening").wait_for()
    page.get_by_role("button", name="Cancel dropped.mp4").click()
    until(lambda: page.locator(".clip").count() == before)
    told = until(lambda: page.evaluate("fetch('/v1/videos').then((a) => a.json())"))
    assert "dropped.mp4" not in [job["name"] for job in told["videos"]]


def test_nothing_was_asked_elsewhere_and_nothing_went_wrong(result: Watched) -> None:
    assert len(result.asked) > 10
    assert result.elsewhere == []
    assert result.faults == []
