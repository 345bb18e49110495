"""Where the model that finds faces is, and how it gets there."""

import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from emotailor.errors import ModelError
from emotailor.extraction import face_model
from emotailor.extraction.face_model import (
    ADDRESS,
    FETCH,
    SHA256,
    VARIABLE,
    cached_face_model,
    fetch_face_model,
    find_face_model,
)

CONTENT = b"a small face model"


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the small file be the official one."""
    found = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setattr(face_model, "SHA256", found)
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "cache"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/face.task"
    server.shutdown()
    server.server_close()
    thread.join()


def test_named_before_variable_before_cache(cache: Path, tmp_path: Path, official: str) -> None:
    named, variable = tmp_path / "named.task", tmp_path / "variable.task"
    named.write_bytes(b"named")
    variable.write_bytes(CONTENT)
    cached = cached_face_model()
    assert cached.is_relative_to(cache / "emotailor")
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)

    environ = {**os.environ, VARIABLE: str(variable)}
    # another version is used, and said
    first = find_face_model(named, environ)
    assert (first.path, first.content) == (named, b"named")
    assert first.sha256 == hashlib.sha256(b"named").hexdigest() and len(first.notes) == 1
    second = find_face_model(None, environ)
    assert (second.path, second.sha256, second.notes) == (variable, official, ())
    third = find_face_model()
    assert (third.path, third.content, third.notes) == (cached, CONTENT, ())

    cached.write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match="--fetch"):
        find_face_model()


def test_none_says_command_and_address(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find_face_model()
    assert all(part in str(caught.value) for part in (FETCH, ADDRESS, VARIABLE, str(cache)))
    for wrong in (tmp_path, tmp_path / "nothing.task"):
        with pytest.raises(ModelError) as caught:
            find_face_model(wrong)
        assert str(wrong) in str(caught.value) and ADDRESS in str(caught.value)


def test_fetched_once(cache: Path, served: tuple[Path, str], official: str) -> None:
    folder, address = served
    (folder / "face.task").write_bytes(CONTENT)
    place = fetch_face_model(address=address)
    assert place == cached_face_model() and place.read_bytes() == CONTENT
    assert find_face_model().sha256 == official

    # it is there, so nobody is asked
    (folder / "face.task").unlink()
    assert fetch_face_model(address=address) == place
    # an altered one is fetched again
    place.write_bytes(b"altered")
    (folder / "face.task").write_bytes(CONTENT)
    assert fetch_face_model(address=address).read_bytes() == CONTENT
    assert [file.name for file in place.parent.iterdir()] == ["face_landmarker.task"]


def test_nothing_else_is_stored(cache: Path, served: tuple[Path, str], official: str) -> None:
    folder, address = served
    (folder / "face.task").write_bytes(b"<html>please log in</html>")
    with pytest.raises(ModelError) as caught:
        fetch_face_model(address=address)
    assert official in str(caught.value) and address in str(caught.value)
    with pytest.raises(ModelError, match="404"):
        fetch_face_model(address=address + "x")
    with pytest.raises(ModelError, match="cannot be fetched"):
        fetch_face_model(address="http://127.0.0.1:9/face.task")
    assert not cache.exists()


def test_a_cache_that_cannot_be_written(
    cache: Path, served: tuple[Path, str], official: str
) -> None:
    folder, address = served
    (folder / "face.task").write_bytes(CONTENT)
    cache.write_text("a file")
    with pytest.raises(ModelError, match="cannot be written"):
        fetch_face_model(address=address)


@pytest.mark.parametrize(
    ("platform", "environ", "end"),
    [
        ("linux", {"XDG_CACHE_HOME": "relative"}, ".cache/emotailor"),
        ("linux", {}, ".cache/emotailor"),
        ("linux", {"XDG_CACHE_HOME": "/x/y"}, "/x/y/emotailor"),
        ("darwin", {"XDG_CACHE_HOME": "/x/y"}, "Library/Caches/emotailor"),
        ("win32", {}, "AppData/Local/emotailor"),
    ],
)
def test_the_cache_of_each_system(
    monkeypatch: pytest.MonkeyPatch, platform: str, environ: dict[str, str], end: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    folder = cached_face_model(environ).parent.parent
    assert folder.is_absolute() and folder.as_posix().endswith(end)


def test_the_hash_is_that_of_the_real_file(shared_data: Path) -> None:
    real = shared_data.parent / "models" / "face_landmarker.task"
    model = find_face_model(real)
    assert model.sha256 == SHA256 and len(model.content) == 3_758_596 and model.notes == ()


def test_without_it_a_note_names_no_place_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The note goes along with results, which others read."""
    from emotailor.extraction import recording
    from emotailor.extraction.config import ExtractionConfig

    def absent(path: Path | None = None) -> None:
        raise ModelError("no face model at /home/secret/face.task", fix="fetch it")

    monkeypatch.setattr(recording, "find_face_model", absent)
    extractor, notes = recording.Extractor.with_what_is_there(ExtractionConfig())
    assert extractor.config.visual == "none"
    (note,) = notes
    assert note.startswith("no face was looked for: ")
    assert "emotailor data face-model" in note
    assert "secret" not in note
    with pytest.raises(ModelError, match="secret"):
        recording.Extractor.with_what_is_there(ExtractionConfig(), Path("named.task"))
