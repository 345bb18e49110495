"""Videos as jobs: the queue, what is told, what can be fetched, and what is left of them."""

import asyncio
import errno
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from emotailor.report.timelines import timeline_text
from emotailor.service import app, videos
from emotailor.service.app import Service
from emotailor.service.config import Limits
from emotailor.service.errors import RequestError
from emotailor.service.folder import upload_folder
from emotailor.service.uploads import ending_of, shown_name, store
from emotailor.service.videos import attachment
from emotailor.serving.timeline import Timeline
from tests.helpers import LABELS
from tests.service.serving import Place, Process, events_of, made_job, serving, until


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started, and nobody waits long for an event."""
    monkeypatch.setattr(videos, "Workers", Process)
    monkeypatch.setattr(app, "BETWEEN_LOOKS", 0.01)


@pytest.fixture
def narrow(run: Path) -> Iterator[tuple[Place, Service]]:
    """A service with room for two that wait and two that are kept."""
    with serving(made_job(run, Limits(waiting=2, kept=2))) as both:
        yield both


def upload(place: Place, content: bytes = b"clip", name: str = "clip.mp4") -> dict[str, Any]:
    answer = place.post(f"/v1/videos?name={name}", content)
    assert answer.status == 202, answer.body
    job: dict[str, Any] = answer.json
    assert answer.headers["location"] == job["links"]["self"]
    return job


def ended(place: Place, job: dict[str, Any]) -> dict[str, Any]:
    """The job after its last event."""
    last = events_of(place.get(job["links"]["events"]))[-1]
    assert place.get(job["links"]["self"]).json == last
    return last


def files(service: Service) -> list[Path]:
    return [path for path in service.videos._folder.iterdir() if path.name != ".lock"]


def test_a_video_becomes_a_timeline_that_knows_it_by_its_name(place: Place) -> None:
    job = upload(place, name="my%20clip.mp4")
    assert (job["name"], job["error"]) == ("my clip.mp4", None)
    done = ended(place, job)
    assert (done["status"], done["share"], done["place"]) == ("done", 1.0, None)

    found = place.get(done["links"]["json"]).json
    assert found["source"] == "my clip.mp4"
    assert [moment["prediction"]["id"] for moment in found["moments"]] == [
        "my clip[0]",
        "my clip[1]",
    ]
    assert place.get(done["links"]["media"]).body == b"clip"
    part = place.get(done["links"]["media"], Range="bytes=1-2")
    assert (part.status, part.body, part.headers["content-type"]) == (206, b"li", "video/mp4")


def test_files_are_those_that_the_command_line_writes(place: Place) -> None:
    done = ended(place, upload(place))
    timeline = Timeline.from_json(place.get(done["links"]["json"]).json)
    for form in ("json", "csv", "srt", "html"):
        answer = place.get(done["links"][form])
        written = timeline_text(timeline, form, Path())
        if form == "json":
            assert json.loads(answer.body) == json.loads(written)
            assert answer.body.endswith(b"\n")
        else:
            assert answer.body.decode() == written
        assert f'filename="clip.{form}"' in answer.headers["content-disposition"]
    assert place.get(done["links"]["self"] + "/timeline.exe").status == 404


def test_thresholds_decide_anew(place: Place) -> None:
    done = ended(place, upload(place))
    address = done["links"]["json"]
    before = place.get(address).json
    p = before["moments"][0]["prediction"]["probabilities"]
    first, second, third = LABELS
    after = place.get(f"{address}?threshold={first}:1&threshold={second}:{p[second]}").json
    found = after["moments"][0]["prediction"]
    assert after["thresholds"] == {first: 1.0, second: p[second], third: 0.0}
    # strictly above, as everywhere
    assert found["decisions"] == {first: False, second: False, third: True}
    assert found["probabilities"] == p
    assert found["explanation"] == before["moments"][0]["prediction"]["explanation"]
    assert set(after["moments"][0]["because"]) == {third}
    subtitles = place.get(f"{done['links']['srt']}?threshold={first}:1").body.decode()
    assert first not in subtitles
    assert second in subtitles

    for wrong in ("happy", "happy:x", "nobody:0.1", "happy:2", "happy:nan", ":0.5"):
        assert place.get(f"{address}?threshold={wrong}").status == 422


def test_a_failure_calls_the_video_by_its_name(served: tuple[Place, Service]) -> None:
    place, service = served
    done = ended(place, upload(place, b"fail"))
    assert done["status"] == "failed"
    assert done["error"] == {
        "found": "clip.mp4 is no video",
        "expected": None,
        "fix": "look at clip.mp4",
    }
    assert place.get(done["links"]["json"]).status == 409
    assert place.get(done["links"]["page"]).status == 409
    assert place.get(done["links"]["media"]).status == 404
    assert str(service.videos._folder) not in json.dumps(done)


def test_what_the_machine_refuses_is_told(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"clip"

    with pytest.raises(RequestError, match="No such file") as caught:
        asyncio.run(store(parts(), tmp_path / "removed by somebody" / "clip.mp4"))
    assert caught.value.status == 507

    def begin(_: Process) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Process, "begin", begin)
    done = ended(place, upload(place))
    assert done["status"] == "failed"
    assert done["error"]["found"] == "the machine of the service refused: Too many open files"


def test_what_goes_wrong_later_is_not_said_of_the_folder() -> None:
    with pytest.raises(OSError, match="another reason"), upload_folder():
        raise OSError(errno.EIO, "another reason")


def test_a_queue_that_is_full_says_when_to_come_again(narrow: tuple[Place, Service]) -> None:
    place, service = narrow
    working = upload(place, b"wait")
    until(lambda: place.get(working["links"]["self"]).json["status"] == "working")
    waiting = [upload(place), upload(place)]
    assert [place.get(job["links"]["self"]).json["place"] for job in waiting] == [1, 2]
    full = place.post("/v1/videos", b"clip")
    assert full.status == 503
    assert int(full.headers["retry-after"]) > 0
    assert "--max-waiting" in str(full.error["fix"])

    # one that waits is removed, and the next has its place
    assert place.ask("DELETE", waiting[0]["links"]["self"]).status == 204
    assert place.get(waiting[0]["links"]["self"]).status == 404
    assert place.get(waiting[1]["links"]["self"]).json["place"] == 1
    # the one that is worked at is ended
    assert place.ask("DELETE", working["links"]["self"]).status == 204
    assert ended(place, waiting[1])["status"] == "done"
    until(lambda: len(files(service)) == 1)
    ends = 'emotailor_videos_total{outcome="cancelled"} 2.0'
    until(lambda: ends in place.get("/metrics").body.decode())


def test_who_watches_hears_that_it_was_cancelled(narrow: tuple[Place, Service]) -> None:
    place, service = narrow
    job = upload(place, b"wait")
    kept = service.videos.find(job["id"])
    assert kept is not None
    until(lambda: kept.workers is not None)
    stream = app._events(service.videos, kept)

    async def listen() -> list[str]:
        told = []
        async for event in stream:
            told.append(event)
            service.videos.remove(kept)
        return told

    import asyncio

    told = asyncio.run(listen())
    assert '"status": "working"' in told[0]
    assert '"status": "cancelled"' in told[-1]


def test_old_ones_go_with_their_files(narrow: tuple[Place, Service], run: Path) -> None:
    place, service = narrow
    jobs = [upload(place, name=f"{number}.mp4") for number in range(2)]
    for job in jobs:
        ended(place, job)
    third = upload(place, name="2.mp4")
    ended(place, third)
    assert [job["name"] for job in place.get("/v1/videos").json["videos"]] == ["1.mp4", "2.mp4"]
    assert len(files(service)) == 2
    assert place.get(jobs[0]["links"]["json"]).status == 404

    with serving(made_job(run, Limits(kept_seconds=0.05))) as (other, its):
        job = upload(other)
        until(lambda: other.get(job["links"]["self"]).status == 404)
        assert files(its) == []


HOSTILE = [
    ("../../etc/passwd", "passwd"),
    ("C:\\temp\\clip.mp4", "clip.mp4"),
    ("/tmp/clip.mp4/", "clip.mp4"),
    ("<script>alert(1)</script>.mp4", "script>.mp4"),
    ("a\"b'c.mp4", "a\"b'c.mp4"),
    ("клип.webm", "клип.webm"),
    ("=cmd|x.mp4", "=cmd|x.mp4"),
    (".mp4", ".mp4"),
    ("%2e%2e", "%2e%2e"),
]


@pytest.mark.parametrize(("given", "shown"), HOSTILE)
def test_a_name_is_shown_and_is_no_path(
    served: tuple[Place, Service], given: str, shown: str
) -> None:
    from urllib.parse import quote

    place, service = served
    job = upload(place, name=quote(given, safe=""))
    assert job["name"] == shown
    done = ended(place, job)
    kept = service.videos.find(job["id"])
    assert kept is not None
    assert kept.file.parent == service.videos._folder
    assert re.fullmatch(r"[0-9a-f]{16}(\.mp4|\.webm)?", kept.file.name)

    page = place.get(done["links"]["page"])
    assert page.status == 200
    assert "<script>alert" not in page.body.decode()
    policy = page.headers["content-security-policy"]
    assert "script-src 'self' 'sha256-" in policy
    assert place.get(done["links"]["csv"]).status == 200
    header = place.get(done["links"]["html"]).headers["content-disposition"]
    assert "\n" not in header
    assert header.isascii()


@pytest.mark.parametrize("given", ["a\nb", "a\0b", "\u2028", "..", ".", "x" * 201, "\ud800"])
def test_what_is_no_name_is_refused(given: str) -> None:
    with pytest.raises(RequestError):
        shown_name(given)


def test_names_without_a_name_and_endings() -> None:
    assert shown_name(None) == shown_name("") == "upload"
    endings = {"a.MP4": ".mp4", "a.html": "", "a.svg": "", "mp4": "", "a.mp4.php": ""}
    assert {name: ending_of(name) for name in endings} == endings
    assert attachment('a"b\r\n.csv').startswith('attachment; filename="a_b__.csv"')


def test_a_model_that_takes_no_videos_says_so(run: Path) -> None:
    from emotailor.extraction.config import ExtractionConfig
    from emotailor.runs.videos import VideoJob
    from emotailor.service.app import ServiceJob

    pytest.importorskip("av")
    config = ExtractionConfig(visual="none", audio="none")
    with serving(ServiceJob(VideoJob(run, (), config=config, device="cpu"))) as (place, _):
        about = place.get("/v1/model").json
        assert about["labels"] == list(LABELS)
        assert about["videos"]["possible"] is False
        assert about["videos"]["why_not"]["found"]
        refused = place.post("/v1/videos", b"x")
        assert refused.status == 409
        assert refused.error["found"]
        assert place.get("/v1/videos").json == {"videos": []}


def test_what_is_counted(served: tuple[Place, Service]) -> None:
    place, _ = served
    place.get("/v1/videos/none")
    place.get("/a-path-of-a-stranger")
    assert place.ask("INVENTED", "/health").status == 405
    text = place.get("/metrics").body.decode()
    seen = 'emotailor_requests_total{method="GET",route="/v1/videos/{job_id}",status="404"}'
    assert seen in text
    assert "a-path-of-a-stranger" not in text
    assert "INVENTED" not in text
    assert 'route="other"' in text
    assert "emotailor_videos_waiting 0.0" in text
