"""Splits for sources that have none, and a part of the training split: by hashes of the ids."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from emotailor.data.ids import Videos
from emotailor.errors import ConfigError, DataError

SPLITS = ("train", "valid", "test")
_ROOM = 1e-6


def parse_shares(text: str) -> tuple[float, float, float]:
    """Return the shares of train, valid and test from ``70/10/20`` or ``0.7/0.1/0.2``.

    Raises:
        ConfigError: they are not three numbers, or do not add up to 1 or 100.
    """
    expected = "shares of train, valid and test that add up to 1 or 100, such as 70/10/20"
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError as error:
        raise ConfigError(f"split {text!r}", expected=expected) from error

    total = sum(numbers)
    whole = 100.0 if total > 1 + _ROOM else 1.0
    positive = numbers[0] > 0 and min(numbers) >= 0
    if len(numbers) != len(SPLITS) or not positive or abs(total - whole) > _ROOM * whole:
        raise ConfigError(f"split {text!r}", expected=expected)
    train, valid, test = (number / whole for number in numbers)
    return train, valid, test


def divide(ids: Sequence[str], shares: Sequence[float], seed: int) -> dict[str, str]:
    """Return the split of each sample; all samples of a video are in one.

    Videos stand in the order of a hash of their names, and are dealt out until a split has its
    share. The order of ``ids`` does not matter.

    Args:
        ids: the ids of all samples.
        shares: of train, valid and test, 1 in all.
        seed: another number gives another order.

    Raises:
        DataError: there are too few videos for the splits asked for.
    """
    videos = Videos(ids)
    sizes = Counter(videos.of(sample_id) for sample_id in ids)

    def place(video: str) -> str:
        return hashlib.sha256(f"{seed}:{video}".encode()).hexdigest()

    split_of_video = {}
    before = 0
    for video in sorted(sizes, key=place):
        # where the middle of the video lies among all samples
        middle = (before + sizes[video] / 2) / len(ids)
        split_of_video[video] = _split_at(middle, shares)
        before += sizes[video]

    wanted = {split for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    empty = sorted(wanted - set(split_of_video.values()))
    if empty:
        raise DataError(
            f"{len(ids)} samples of {len(sizes)} videos leave the split {empty[0]} empty",
            expected="a video for every split, since a video is never divided",
            fix="give other shares, or another --split-seed",
        )
    return {sample_id: split_of_video[videos.of(sample_id)] for sample_id in ids}


def is_in_share(sample_id: str, share: float) -> bool:
    """Say whether a sample is in a share of all samples.

    The first 8 bytes of the SHA-256 of its id, taken as a number from 0 to 1, decide. So neither
    the order nor the other samples matter, and a smaller share is a part of every larger one.

    Args:
        sample_id: of the sample.
        share: from 0 to 1.
    """
    digest = hashlib.sha256(sample_id.encode()).digest()
    place = int.from_bytes(digest[:8], "big")
    return place < share * 2**64


def _split_at(position: float, shares: Sequence[float]) -> str:
    """Return the split in which a position from 0 to 1 lies."""
    end = 0.0
    last = SPLITS[0]
    for split, share in zip(SPLITS, shares, strict=True):
        if not share:
            continue
        last = split
        end += share
        if position < end:
            return split
    return last
