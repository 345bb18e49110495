"""No command opens a connection or asks for an address by itself.

Each is run as a user would, where there is no network, and all that asks for one is written down:
what Python asks for, and where strace is at hand what native libraries ask for.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("av")
pytest.importorskip("faster_whisper")
pytest.importorskip("mediapipe")
pytest.importorskip("tokenizers")

from tests.extraction.videos import beginning_of

ROOT = Path(__file__).resolve().parents[1]

NOTED = """
import os, socket

def noted(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        address = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        # processes of one machine talk to each other over a path
        if not isinstance(address, (str, bytes)) or event == "socket.getaddrinfo":
            with open(os.environ["NOTED"], "a") as file:
                file.write(f"{event} {address}\\n")

import sys
sys.addaudithook(noted)
"""
"""Run by every process of Python before anything else."""

OF_THE_NETWORK = re.compile(r"AF_INET|AF_PACKET|nscd|resolve")


@dataclass(frozen=True)
class Ran:
    """A command that ended.

    Attributes:
        code: its exit code.
        output: what it printed.
        asked: what of the network it asked for.
        left: files in its home and in the folder of temporary files.
    """

    code: int
    output: str
    asked: list[str]
    left: list[str]


def can_trace() -> bool:
    """Whether calls of the system can be seen here."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode == 0
    )


def can_leave_the_network() -> bool:
    """Whether a process can be put where there is no network."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    return tried.returncode == 0


def say_what_was_not_watched() -> None:
    """Skip the rest of a test where calls of the system, or the network, could not be kept away."""
    if not can_trace():
        pytest.skip("strace is missing: what native libraries ask for was not watched")
    if not can_leave_the_network():
        pytest.skip("unshare is missing or not allowed: the command ran where there is a network")


def run_alone(arguments: Sequence[str], place: Path) -> Ran:
    """Run Python without a network, with a home and temporary files of its own."""
    hooks = place / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(NOTED)
    calls = place / "calls"
    calls.touch()
    noted = place / "noted"
    noted.touch()
    for name in ("home", "tmp"):
        (place / name).mkdir()

    command = [sys.executable, *arguments]
    if can_trace():
        command = ["strace", "-f", "-qq", "-e", "trace=%network", "-o", str(calls), *command]
    if can_leave_the_network():
        command = ["unshare", "-rn", *command]

    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        "NOTED": str(noted),
        "PYTHONPATH": os.pathsep.join([str(hooks), str(ROOT / "src")]),
        "OMP_NUM_THREADS": "1",
    }
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=place
    )

    seen = [line for line in calls.read_text().splitlines() if OF_THE_NETWORK.search(line)]
    left = [path for name in ("home", "tmp") for path in sorted((place / name).rglob("*"))]
    return Ran(
        ended.returncode,
        ended.stdout + ended.stderr,
        noted.read_text().splitlines() + seen,
        [path.relative_to(place).as_posix() for path in left],
    )


def test_what_asks_for_an_address_is_seen(tmp_path: Path) -> None:
    code = "import socket\ntry: socket.getaddrinfo('example.invalid', 80)\nexcept OSError: pass"
    ran = run_alone(["-c", code], tmp_path)
    assert ran.code == 0
    assert "socket.getaddrinfo example.invalid" in ran.asked
    # the library of C looks into a socket of its own, or asks a server
    assert len(ran.asked) > 1 or not can_trace()


def test_a_package_that_sends_usage_data_is_told_not_to(tmp_path: Path) -> None:
    code = "from emotailor.encoders.packages import need; need('onnxruntime', 'this', 'pip')"
    ran = run_alone(["-c", code], tmp_path)
    assert ran.code == 0, ran.output
    assert ran.asked == []
    assert ran.left == []


def test_predict_on_a_video_asks_for_nothing(tmp_path: Path, shared_data: Path) -> None:
    clip = beginning_of(shared_data / "mosei_clips/-3nNcZdcdvU.mp4", tmp_path / "clip.mp4", 4.0)
    model = shared_data.parent / "models/face_landmarker.task"
    command = ["-m", "emotailor", "predict", str(clip), "--face-model", str(model), "--html"]
    ran = run_alone(command, tmp_path)

    assert ran.code == 0, ran.output
    assert "<!DOCTYPE html>" in ran.output
    # a face was followed, and words were heard and encoded
    assert "one face was seen" in ran.output.lower()
    assert ">Erma<" in ran.output
    assert ran.asked == []
    assert ran.left == []
    say_what_was_not_watched()
