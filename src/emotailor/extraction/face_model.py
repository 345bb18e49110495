"""The file of the MediaPipe face landmarker: where it is, and how it gets there.

Nothing here opens a connection unless :func:`fetch_face_model` is called.
"""

import hashlib
import os
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emotailor.errors import ModelError
from emotailor.files import READ_ONLY, replacing_file

ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/"
    "face_landmarker/float16/1/face_landmarker.task"
)
"""Where its makers offer version 1 with 16-bit weights (Apache-2.0, 3.8 MB)."""

SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
"""Of the file at :data:`ADDRESS`."""

VARIABLE = "EMOTAILOR_FACE_MODEL"
"""The environment variable that may name the file."""

FETCH = "emotailor data face-model --fetch"
"""The command that fetches the file."""

_NAME = "face_landmarker.task"
_LARGEST = 256 << 20
_PATIENCE = 60.0
"""Seconds without a byte after which fetching is given up."""

_HOW = (
    f"`{FETCH}` fetches it once from {ADDRESS}; or fetch it yourself, and name the file with "
    f"--face-model or {VARIABLE}"
)


@dataclass(frozen=True)
class FaceModel:
    """A face landmarker, as bytes that are what their hash says.

    Attributes:
        path: where it was read.
        content: of the file.
        sha256: hash of the content.
        notes: what there is to know, such as that it is not the official one.
    """

    path: Path
    content: bytes = field(repr=False)
    sha256: str
    notes: tuple[str, ...] = ()


def find_face_model(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> FaceModel:
    """Return the face landmarker: as named, of the environment variable, or of the user's cache.

    A file that somebody names may be another version. It is used, and a note says so. The one in
    the cache is the official one, or damaged.

    Args:
        path: the file, where it is named.
        environ: the environment variables.

    Raises:
        ModelError: there is no such file, it cannot be read, or the one in the cache was altered.
    """
    named = path
    if named is None and environ.get(VARIABLE):
        named = Path(environ[VARIABLE])
    if named is not None:
        return _named(named)

    cached = cached_face_model(environ)
    if not cached.is_file():
        raise ModelError(
            f"no face model: neither named with --face-model or {VARIABLE}, nor at {cached}",
            expected=f"MediaPipe's {_NAME}",
            fix=_HOW,
        )
    content = _read(cached)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise _altered(str(cached), found, f"`{FETCH}` fetches it again")
    return FaceModel(cached, content, found)


def cached_face_model(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where a fetched face landmarker lies, whether or not it is there."""
    return _cache(environ) / "emotailor" / SHA256[:12] / _NAME


def fetch_face_model(path: Path | None = None, address: str = ADDRESS) -> Path:
    """Fetch the official face landmarker, unless it is there already.

    Args:
        path: where it is put; None: in the user's cache, where it is found from now on.
        address: where it is fetched.

    Returns:
        Where it is.

    Raises:
        ModelError: it cannot be fetched, is not the official one, or cannot be written.
    """
    target = path or cached_face_model()
    if target.is_file() and hashlib.sha256(_read(target)).hexdigest() == SHA256:
        return target

    content = _download(address)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise _altered(address, found, "try again; a network that asks for a login answers so, too")

    try:
        with replacing_file(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        fix = "make room on the disk"
        if error.errno in READ_ONLY:
            fix = "name a place where you may write"
        raise ModelError(f"{target} cannot be written: {error.strerror}", fix=fix) from error
    return target


def _named(path: Path) -> FaceModel:
    """Return the face landmarker that somebody named."""
    if not path.is_file():
        raise ModelError(f"no face model at {path}", expected=f"MediaPipe's {_NAME}", fix=_HOW)
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()

    notes: tuple[str, ...] = ()
    if found != SHA256:
        notes = (f"the face model {path.name} is another version than the official one",)
    return FaceModel(path, content, found, notes)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", fix=_HOW) from error

    if len(content) > _LARGEST:
        raise ModelError(
            f"{path} has more than {_LARGEST >> 20} MiB", expected=f"MediaPipe's {_NAME}", fix=_HOW
        )
    return content


def _download(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:
            content: bytes = answer.read(_LARGEST)
    # a connection may end at any time, with errors of several kinds that are all of this one
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{address} cannot be fetched: {error}",
            expected="a connection to it",
            fix=f"fetch the file on another machine, and name it with --face-model or {VARIABLE}",
        ) from error
    return content


def _altered(where: str, found: str, fix: str) -> ModelError:
    return ModelError(
        f"{where} has the SHA-256 {found}", expected=f"{SHA256} of MediaPipe's {_NAME}", fix=fix
    )


def _cache(environ: Mapping[str, str]) -> Path:
    """Return the folder where programs keep what they can fetch again."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Caches"

    # what is not absolute is to be ignored, says the rule of these folders
    named = Path(environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else home / ".cache"
