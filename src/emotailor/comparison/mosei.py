"""Is this CMU-MOSEI in the split of the paper? Told by ids, counts and labels, not by sizes alone.

``mosei.json`` holds, per split, four bytes of the SHA-256 of each video's id, how many labelled
segments the video has, and how many segments have each label (``scripts/mosei.py`` writes it). No
data can be had from that. Files number the segments of a video in several ways and drop a few
without words, so what is compared is the number of segments of each video.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from emotailor.data.dataset import EmotionDataset
from emotailor.data.ids import Videos
from emotailor.data.sample import EMOTIONS

FILE = Path(__file__).with_name("mosei.json")

LEAST_SHARE = 0.99
"""Share of the segments of a split that must be the paper's, and of the paper's that must be there.

Releases have 16,322 to 16,327 training and 4,659 to 4,662 test segments: three and five of the
labelled ones have no words.
"""

LABEL_TOLERANCE = 0.01
"""By how much the share of a label among the segments of a split may differ."""

HASH_BYTES = 4


@dataclass(frozen=True)
class Recognition:
    """Whether data are CMU-MOSEI in the paper's split.

    Attributes:
        why_not: what is different; the empty string where they are.
        resembles: at least half of the segments are of videos of CMU-MOSEI.
    """

    why_not: str
    resembles: bool

    @property
    def is_mosei(self) -> bool:
        """Whether they are."""
        return not self.why_not


def recognise(dataset: EmotionDataset) -> Recognition:
    """Compare ids, counts and labels of a data set with those of CMU-MOSEI."""
    known = _known()
    if dataset.card.synthetic:
        return Recognition("the data are synthetic", resembles=False)

    counts = _videos(dataset)
    resembles = _resembles(counts, known)
    if set(dataset.label_names) != set(EMOTIONS):
        names = ", ".join(dataset.label_names)
        return Recognition(f"the labels are {names}, not its six emotions", resembles)

    for name, reference in known.items():
        if name not in counts:
            return Recognition(f"there is no split {name!r}", resembles)
        why = _other_videos(name, counts[name], reference["videos"])
        why = why or _other_labels(dataset, name, reference["labels"])
        if why:
            return Recognition(why, resembles)
    return Recognition("", resembles)


def _other_videos(name: str, counts: Mapping[bytes, int], reference: Mapping[bytes, int]) -> str:
    """Say how a split differs in its segments; empty where it does not."""
    found = sum(counts.values())
    expected = sum(reference.values())
    shared = sum(min(count, reference.get(video, 0)) for video, count in counts.items())
    if shared >= LEAST_SHARE * max(found, expected):
        return ""
    return (
        f"split {name!r} has {found:,} samples, of which {shared:,} are among the {expected:,} "
        "segments of CMU-MOSEI in the paper's split, by their ids"
    )


def _other_labels(dataset: EmotionDataset, name: str, reference: Mapping[str, int]) -> str:
    """Say how a split differs in its labels; empty where it does not."""
    split = dataset[name]
    if not split.labelled.all():
        return f"some samples of split {name!r} have no labels"

    held = split.labels.sum(0, dtype=np.int64).tolist()
    for label, count in zip(dataset.label_names, held, strict=True):
        if abs(count - reference[label]) > LABEL_TOLERANCE * len(split):
            return (
                f"in split {name!r} {count:,} samples are {label}, where {reference[label]:,} "
                "segments of CMU-MOSEI have an intensity above 0"
            )
    return ""


def _resembles(
    counts: Mapping[str, Mapping[bytes, int]], known: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Whether at least half of the samples are of videos of CMU-MOSEI, in whichever split."""
    videos: set[bytes] = set()
    for reference in known.values():
        videos.update(reference["videos"])

    total = 0
    ours = 0
    for of_split in counts.values():
        total += sum(of_split.values())
        ours += sum(count for video, count in of_split.items() if video in videos)
    return total > 0 and 2 * ours >= total


def _videos(dataset: EmotionDataset) -> dict[str, Counter[bytes]]:
    """Return split -> hash of a video's id -> number of its samples."""
    all_ids = chain.from_iterable(split.ids for split in dataset.splits.values())
    videos = Videos(all_ids)

    counts = {}
    for name, split in dataset.splits.items():
        by_name = Counter(map(videos.of, split.ids))
        hashed: Counter[bytes] = Counter()
        for video, count in by_name.items():
            hashed[_hash(video)] += count
        counts[name] = hashed
    return counts


def _hash(video: str) -> bytes:
    return hashlib.sha256(video.encode()).digest()[:HASH_BYTES]


@cache
def _known() -> dict[str, dict[str, Any]]:
    """Return split -> hashes of videos with their segments, and label -> segments that have it."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    known = {}
    for name, split in content["splits"].items():
        packed = base64.b85decode(split["videos"])
        size = HASH_BYTES + 1
        videos = {}
        for start in range(0, len(packed), size):
            entry = packed[start : start + size]
            videos[entry[:HASH_BYTES]] = entry[HASH_BYTES]
        known[name] = {"videos": videos, "labels": split["labels"]}
    return known
