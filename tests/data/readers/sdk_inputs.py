"""Computational sequences by a seed, for what the SDK's own ``align`` made of them."""

from typing import Any

import numpy as np

VIDEOS = 16
RATES = {"COVAREP": (40, 3), "OpenFace_2": (12, 2)}
"""Frames a second and features of each modality."""

Entries = dict[str, tuple[np.ndarray, np.ndarray]]


def sequences() -> dict[str, Entries]:
    """Return root -> video -> features and intervals.

    Words with gaps, overlaps and without length, some out of order; frames with gaps, overlaps and
    one long row; segments that overlap, begin before 0 and cut words; two number types.
    """
    rng = np.random.default_rng(11)
    found: dict[str, Entries] = {root: {} for root in ("glove_vectors", *RATES, "All Labels")}
    for v in range(VIDEOS):
        name = f"video{v}"
        length = float(rng.uniform(5, 9))
        words = _words(rng, length)
        found["glove_vectors"][name] = _typed(rng.normal(size=(len(words), 2)), words, v)
        for root, (rate, dim) in RATES.items():
            frames = _frames(rng, length, rate)
            found[root][name] = _typed(rng.normal(size=(len(frames), dim)), frames, v + rate)

        segments = _segments(rng, length, words)
        labels = rng.integers(0, 4, (len(segments), 7))
        found["All Labels"][name] = _typed(labels, segments, v // 2)
    return found


def _typed(features: Any, intervals: Any, choice: int) -> tuple[np.ndarray, np.ndarray]:
    kinds = (np.float32, np.float64)
    return features.astype(kinds[choice % 2]), intervals.astype(kinds[choice // 2 % 2])


def _words(rng: np.random.Generator, length: float) -> np.ndarray:
    count = int(rng.integers(5, 14))
    start = np.sort(rng.uniform(0, length, count))
    end = np.append(start[1:], length)
    gap = rng.random(count)
    end = np.where(gap < 0.2, start + (end - start) / 2, end)
    end = np.where(gap > 0.8, start + 1.25, end)
    end[rng.random(count) < 0.1] = 0
    words = np.stack([start, np.maximum(start, end)], axis=1)
    return rng.permutation(words) if rng.random() < 0.3 else words


def _frames(rng: np.random.Generator, length: float, rate: int) -> np.ndarray:
    start = np.arange(int(length * rate)) / rate
    frames = np.stack([start, start + 1 / rate], axis=1)
    if rng.random() < 0.5:
        frames = np.round(frames, 3)
    hole = int(rng.integers(0, len(frames) - rate))
    frames = np.delete(frames, slice(hole, hole + rate), axis=0)
    if rng.random() < 0.3:
        frames[:, 1] += 2 / rate
    if rng.random() < 0.3:
        frames[7, 1] += 3
    return rng.permutation(frames) if rng.random() < 0.2 else frames


def _segments(rng: np.random.Generator, length: float, words: np.ndarray) -> np.ndarray:
    start = rng.uniform(0, length - 1, 3)
    start[1] = words[2, 0]
    segments = np.stack([start, start + rng.uniform(0.5, 3, 3)], axis=1)
    if rng.random() < 0.5:
        segments[0] = (-0.47755102, 2.5)
    return segments
