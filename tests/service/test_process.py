"""The end of a service: what runs comes to its end, and of a killed one nothing stays for long."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emotailor.errors import ConfigError
from emotailor.service import videos
from emotailor.service.access import Access
from emotailor.service.run import run_site
from emotailor.service.site import new_site
from tests.service.serving import Answer, Place, Process, made_job, serving, until

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Running:
    """A service in a process of its own."""

    process: "subprocess.Popen[str]"
    place: Place
    temporary: Path

    @property
    def folders(self) -> list[Path]:
        return list(self.temporary.glob(".emotailor-uploads.*"))

    @property
    def uploads(self) -> list[Path]:
        return [file for folder in self.folders for file in folder.iterdir() if file.suffix]

    def upload(self, seconds: float) -> dict[str, Any]:
        answer = self.place.post("/v1/videos?name=clip.mp4", str(seconds).encode())
        assert answer.status == 202
        job: dict[str, Any] = answer.json
        return job

    def status(self, job: dict[str, Any]) -> str:
        return str(self.place.get(job["links"]["self"]).json["status"])


@contextmanager
def started(run: Path, temporary: Path) -> Iterator[Running]:
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.service.process", str(run)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline()
        assert address.startswith("http://127.0.0.1:")
        port = int(address.rstrip("/\n").rpartition(":")[2])
        yield Running(process, Place(port, None), temporary)  # type: ignore[arg-type]
    finally:
        process.kill()
        process.communicate(timeout=20)


def children(process: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_the_end_of_services(run: Path, tmp_path: Path) -> None:
    """One that is killed, and behind it one that is asked to stop; each start takes seconds."""
    with started(run, tmp_path) as killed:
        job = killed.upload(600)
        until(lambda: killed.status(job) == "working" and children(killed.process.pid))
        (folder,) = killed.folders
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(killed.uploads) == 1
        at_work = children(killed.process.pid)
        os.kill(killed.process.pid, signal.SIGKILL)
        killed.process.wait(20)
        # what extracts ends with its service, and the folder waits for the next one
        until(lambda: not any(runs(one) for one in at_work))
        assert len(killed.uploads) == 1

    with started(run, tmp_path) as asked:
        assert len(asked.folders) == 1
        assert asked.uploads == []
        assert not folder.exists()

        # one that is cancelled ends its process and has no file any more
        long = asked.upload(600)
        until(lambda: asked.status(long) == "working" and children(asked.process.pid))
        at_work = children(asked.process.pid)
        assert asked.place.ask("DELETE", long["links"]["self"]).status == 204
        until(lambda: not asked.uploads)
        assert at_work

        working, waiting = asked.upload(1.0), asked.upload(600)
        until(lambda: asked.status(working) == "working")
        asked.process.send_signal(signal.SIGTERM)
        until(lambda: asked.status(waiting) == "cancelled")
        refused: Answer = asked.place.post("/v1/videos", b"0")
        assert refused.status == 503
        assert "retry-after" in refused.headers
        until(lambda: asked.status(working) == "done")
        assert json.loads(asked.place.get(working["links"]["json"]).body)["source"] == "clip.mp4"
        assert asked.process.wait(20) == 0
        assert asked.process.stdout is not None
        assert asked.process.stdout.read() == "stopped\n"
        assert list(tmp_path.iterdir()) == []


def test_a_second_signal_ends_it_at_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "Workers", Process)
    with serving(made_job(run)) as (place, service):
        job = place.post("/v1/videos", b"wait").json
        kept = service.videos.find(job["id"])
        assert kept is not None
        until(lambda: kept.workers is not None)
        place.server.handle_exit(signal.SIGINT, None)
        until(lambda: place.post("/v1/videos", b"clip").status == 503)
        assert not kept.has_ended
        assert not place.server.should_exit
        place.server.handle_exit(signal.SIGTERM, None)
        assert place.server.force_exit
        until(lambda: not place.server.server_state.connections)
    assert kept.status == "cancelled"
    assert not kept.file.exists()


def test_a_port_that_is_taken_is_one_message() -> None:
    site = new_site("a site", Access(), {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1"):
            run_site(site, port=port)
    with pytest.raises(ConfigError, match="without a token"):
        run_site(new_site("a site", Access("0.0.0.0"), {}), port=0)
