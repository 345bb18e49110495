"""Recordings on disk: what was extracted of each video, kept until it is needed no more.

    my_data.extraction/
      extraction.json                 says whose the folder is
      recording-KEY-HASH.safetensors  one for each video

The key is a hash over the content of the video and everything that changes its features. So a
second job finds what an earlier one extracted, whichever way that one ended, and anything else is
extracted anew.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from emotailor.errors import ConfigError
from emotailor.extraction.base import Medium, Recording, Timed, Utterance, Word
from emotailor.files import remove_written, sha256_of, write_hashed
from emotailor.folders import FolderKind, has_format

FOLDER = FolderKind(
    name="folder of extracted videos",
    marker="extraction.json",
    recognises=has_format("emotailor-extraction"),
    writes=("extraction.json", "recording-*.safetensors"),
    signs=("extraction.json",),
    error=ConfigError,
)

_TOLD = "recording"
_TRACKS = ("face", "voice")


def store_beside(output: Path) -> Path:
    """Return the folder in which recordings are kept until the data set ``output`` is complete."""
    return output.with_name(f"{output.name}.extraction")


def recording_key(content: str, settings: Mapping[str, Any]) -> str:
    """Return what a recording is called: 16 digits over the video and what makes its features.

    Args:
        content: SHA-256 of the video.
        settings: everything that changes what is extracted of it (any JSON).
    """
    told = json.dumps([content, settings], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class RecordingStore:
    """Keeps recordings in a folder, each complete or absent.

    Args:
        folder: of ours, or free.

    Raises:
        ConfigError: the folder holds something else.
    """

    def __init__(self, folder: Path) -> None:
        FOLDER.check(folder)
        self.folder = folder

    def has(self, key: str) -> bool:
        """Whether a recording is kept and undamaged."""
        return self._file(key) is not None

    def put(self, key: str, recording: Recording) -> None:
        """Keep a recording.

        Raises:
            OSError: it cannot be written.
        """
        FOLDER.mark(self.folder, {"format": "emotailor-extraction", "schema_version": 1})
        arrays, told = packed(recording)

        def write(file: Path) -> None:
            save_file(arrays, file, metadata={_TOLD: told})

        write_hashed(self.folder, f"recording-{key}", ".safetensors", write)

    def get(self, key: str) -> Recording | None:
        """Return a recording; None where none is kept, or it is damaged."""
        file = self._file(key)
        if file is None:
            return None
        with safe_open(file, framework="np") as opened:
            told = opened.metadata()[_TOLD]
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return unpacked(arrays, told)

    def discard(self) -> None:
        """Remove the folder: nobody needs it any more."""
        if self.folder.is_dir() and FOLDER.owns(self.folder):
            remove_written(self.folder, ("recording-*.safetensors", FOLDER.marker))

    def _file(self, key: str) -> Path | None:
        """Return the file of a recording, whose name has the hash of its content."""
        for file in self.folder.glob(f"recording-{key}-*.safetensors"):
            # what a disk or somebody else has changed is extracted anew
            digest = sha256_of(file)
            if file.stem == f"recording-{key}-{digest[:12]}":
                return file
        return None


def packed(recording: Recording) -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays of a recording, and all else as JSON."""
    arrays: dict[str, np.ndarray] = {}
    tracks: dict[str, Any] = {}
    for name in _TRACKS:
        track: Timed | None = getattr(recording, name)
        if track is None:
            continue
        arrays[f"{name}.values"] = np.ascontiguousarray(track.values)
        arrays[f"{name}.intervals"] = np.ascontiguousarray(track.intervals)
        tracks[name] = {"names": track.names, "notes": track.notes}

    medium = asdict(recording.medium)
    medium["path"] = str(recording.medium.path)
    told = {
        "medium": medium,
        "duration": recording.duration,
        "utterances": [asdict(utterance) for utterance in recording.utterances],
        "tracks": tracks,
        "notes": recording.notes,
        "seconds": recording.seconds,
    }
    return arrays, json.dumps(told)


def unpacked(arrays: Mapping[str, np.ndarray], told: str) -> Recording:
    """Return the recording that :func:`packed` took apart."""
    content = json.loads(told)
    medium = dict(content["medium"])
    medium["path"] = Path(medium["path"])
    medium["notes"] = tuple(medium["notes"])
    if medium["picture"] is not None:
        medium["picture"] = tuple(medium["picture"])
    tracks = {}
    for name, track in content["tracks"].items():
        tracks[name] = Timed(
            tuple(track["names"]),
            arrays[f"{name}.values"],
            arrays[f"{name}.intervals"],
            tuple(track["notes"]),
        )

    return Recording(
        Medium(**medium),
        content["duration"],
        tuple(_utterance(told) for told in content["utterances"]),
        tracks.get("face"),
        tracks.get("voice"),
        tuple(content["notes"]),
        content["seconds"],
    )


def _utterance(told: Mapping[str, Any]) -> Utterance:
    words = tuple(Word(**word) for word in told["words"])
    return Utterance(words, told["start"], told["end"])
