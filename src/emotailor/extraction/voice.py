"""Where somebody speaks: silero's voice activity detection, which faster-whisper brings along.

The network is recurrent. It reads the sound in blocks and carries its state from one to the next,
so an hour needs no more memory than a minute.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from emotailor.encoders.packages import folder_of, need
from emotailor.errors import ConfigError
from emotailor.extraction.base import RATE, Sound
from emotailor.extraction.containers import INSTALL

WINDOW = 512
"""Samples that one probability is of: 32 milliseconds."""

_CONTEXT = 64  # samples before a window that the network reads again
_BLOCK = 1024  # windows at once
_STATE = (1, 1, 128)

# speech begins at the first probability, and ends where it stays below the second
_BEGINS = 0.5
_ENDS = 0.35
_SILENCE = 0.2  # seconds; what is shorter is part of the speech around it
_SHORTEST = 0.1  # seconds of speech; what is shorter is a click
_PADDING = 0.06  # seconds that are added on either side, since a word begins softly


def speech_regions(sound: Sound) -> Float64[np.ndarray, "regions 2"]:
    """Return where somebody speaks: start and end of each stretch, in seconds and in order.

    Args:
        sound: of any length; it is read in blocks.

    Raises:
        ConfigError: the extra ``video`` is not installed.
    """
    if not len(sound.samples):
        return np.zeros((0, 2))

    probabilities = speech_probabilities(sound)
    regions = _regions_of(probabilities)
    # the last window is filled up with silence
    return np.clip(regions, 0.0, sound.duration)


def speech_probabilities(sound: Sound) -> Float32[np.ndarray, "windows"]:
    """Return how probably somebody speaks, for every :data:`WINDOW` samples.

    Raises:
        ConfigError: the extra ``video`` is not installed.
    """
    session = _session()
    state = np.zeros(_STATE, np.float32)
    cell = np.zeros(_STATE, np.float32)

    parts = [np.zeros(0, np.float32)]
    for windows in _windows(sound):
        given = {"input": windows, "h": state, "c": cell}
        found, state, cell = session.run(None, given)
        parts.append(found.reshape(-1))
    return np.concatenate(parts)


def _windows(sound: Sound) -> Iterator[Float32[np.ndarray, "_ _"]]:
    """Yield blocks of windows, each with the samples before it."""
    count = -(-len(sound.samples) // WINDOW)
    before = np.zeros(_CONTEXT, np.float32)

    for first in range(0, count, _BLOCK):
        size = min(_BLOCK, count - first) * WINDOW
        begin = first * WINDOW
        block = np.zeros(size, np.float32)
        samples = sound.samples[begin : begin + size]
        block[: len(samples)] = samples
        block /= 32_768

        windows = block.reshape(-1, WINDOW)
        contexts = np.vstack([before, windows[:-1, -_CONTEXT:]])
        yield np.hstack([contexts, windows])
        before = windows[-1, -_CONTEXT:]


def _regions_of(
    probabilities: Float32[np.ndarray, "windows"],
) -> Float64[np.ndarray, "regions 2"]:
    """Return start and end of what is spoken, in seconds."""
    second = RATE / WINDOW
    regions: list[tuple[float, float]] = []
    begin: int | None = None
    quiet_since: int | None = None

    def close(end: int) -> None:
        if begin is not None and end - begin >= _SHORTEST * second:
            regions.append((begin / second, end / second))

    for i, probability in enumerate(probabilities.tolist()):
        if probability >= _BEGINS:
            quiet_since = None
            if begin is None:
                begin = i
            continue
        if begin is None or probability >= _ENDS:
            continue

        if quiet_since is None:
            quiet_since = i
        if i - quiet_since >= _SILENCE * second:
            close(quiet_since)
            begin = None
            quiet_since = None

    close(len(probabilities) if quiet_since is None else quiet_since)
    padding = np.array([-_PADDING, _PADDING])
    return np.array(regions, np.float64).reshape(-1, 2) + padding


@functools.lru_cache(maxsize=1)
def _session() -> Any:
    """Return the network, ready to compute on one thread.

    Raises:
        ConfigError: a package is missing, or does not bring the network.
    """
    what = "finding speech"
    onnxruntime = need("onnxruntime", what, INSTALL)
    package = folder_of("faster_whisper", "faster-whisper", what, INSTALL)
    file = _network_in(package)

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # the command line is no place for its log
    return onnxruntime.InferenceSession(
        str(file), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _network_in(package: Path) -> Path:
    file = package / "assets" / "silero_vad_v6.onnx"
    if file.is_file():
        return file
    raise ConfigError(
        f"faster-whisper in {package} does not hold {file.name}",
        expected="faster-whisper 1.2, with the network that finds speech",
        fix=f"install it again: {INSTALL}",
    )
