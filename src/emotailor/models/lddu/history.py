"""The history of LDDU: what the common scores of every training sample have been so far."""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

KEY_BYTES = 8
"""Bytes of a hash of an id: 64 bits, so that a million ids collide once in forty million sets."""

FREE = 0
"""The key of a row that no sample has."""


class ScoreHistory(nn.Module):
    """A count and a sum of scores for every training sample, found by the hash of its id.

    Everything is in buffers, so that a resumed training has the same history.

    Args:
        samples: N, number of rows; without room, a sample has no history.
        num_labels: L.
    """

    keys: Int64[Tensor, "samples"]
    counts: Int64[Tensor, "samples"]
    sums: Float[Tensor, "samples labels"]

    def __init__(self, samples: int, num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.register_buffer("keys", torch.empty(0, dtype=torch.int64))
        self.register_buffer("counts", torch.empty(0, dtype=torch.int64))
        self.register_buffer("sums", torch.empty(0, num_labels))
        self.make_room(samples)

    def make_room(self, samples: int) -> None:
        """Forget everything, and have rows for so many samples."""
        self.keys = self.keys.new_full((samples,), FREE)
        self.counts = self.counts.new_zeros(samples)
        self.sums = self.sums.new_zeros(samples, self.num_labels)

    def mean_with(
        self, ids: Sequence[str], scores: Float[Tensor, "batch labels"]
    ) -> Float[Tensor, "batch labels"]:
        """Return the mean of all scores that a sample has had, with the ones given.

        Gradients flow into those alone. A sample that was never seen has those alone, too.

        Args:
            ids: of the B samples.
            scores: (B, L), the newest.
        """
        if not len(self.keys):
            return scores

        found, places = self._find(self._keys_of(ids))
        known = found[:, None]  # (B, 1)
        counts = self.counts[places][:, None] * known
        sums = self.sums[places] * known
        return (sums + scores) / (counts + 1)

    @torch.no_grad()
    def add(self, ids: Sequence[str], scores: Float[Tensor, "batch labels"]) -> None:
        """Count the scores of some samples in; an id may be there more than once.

        Args:
            ids: of the B samples.
            scores: (B, L).
        """
        if not len(self.keys):
            return

        keys = self._keys_of(ids)
        self._enter(keys)
        found, places = self._find(keys)

        kept = places[found]
        once = torch.ones_like(kept)
        self.counts.index_add_(0, kept, once)
        self.sums.index_add_(0, kept, scores[found].to(self.sums.dtype))

    def _keys_of(self, ids: Sequence[str]) -> Int64[Tensor, "batch"]:
        keys = [_key_of(name) for name in ids]
        return torch.tensor(keys, dtype=torch.int64, device=self.keys.device)

    def _find(
        self, keys: Int64[Tensor, "batch"]
    ) -> tuple[Bool[Tensor, "batch"], Int64[Tensor, "batch"]]:
        """Return whether each key has a row, and which; there is at least one row."""
        same = keys[:, None] == self.keys  # (B, N)
        found, places = same.long().max(1)
        return found > 0, places

    def _enter(self, keys: Int64[Tensor, "batch"]) -> None:
        """Give rows to the keys that have none, as long as there is room."""
        found, _ = self._find(keys)
        new = keys[~found].unique()

        is_free = self.keys == FREE
        free = is_free.nonzero()[:, 0]
        room = min(len(free), len(new))
        places = free[:room]
        self.keys[places] = new[:room]


def _key_of(name: str) -> int:
    """Hash an id to a whole number that is not FREE."""
    digest = blake2b(name.encode(), digest_size=KEY_BYTES).digest()
    key = int.from_bytes(digest, "big", signed=True)
    return key or 1
