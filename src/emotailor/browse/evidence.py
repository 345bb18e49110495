"""Evidence of single samples, measured when somebody looks, and kept for a while."""

from collections import OrderedDict
from threading import Lock

from emotailor.browse.judged import Judged
from emotailor.serving.prediction import Explanation

KEPT = 200
"""Samples whose evidence is kept of each run; one of 60 steps takes some 20 kB."""


class Evidence:
    """What spoke for the labels of a run; may be asked from several threads.

    Args:
        judged: the answers of the run.
        kept: samples that are kept, those that were asked for last.
    """

    def __init__(self, judged: Judged, kept: int = KEPT) -> None:
        self._judged = judged
        self._kept = kept
        self._found: OrderedDict[int, Explanation | None] = OrderedDict()
        # one pass at a time: several would only wait for each other's processors
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._found)

    def of(self, position: int) -> Explanation | None:
        """Return the evidence of a sample; None where the model can see nothing of it.

        Raises:
            EmotailorError: the sample cannot be explained, as one that is too long.
        """
        with self._lock:
            if position not in self._found:
                self._found[position] = self._measured(position)
            self._found.move_to_end(position)
            while len(self._found) > self._kept:
                self._found.popitem(last=False)
            return self._found[position]

    def _measured(self, position: int) -> Explanation | None:
        sample = self._judged.part.sample(position)
        predictor = self._judged.predictor
        return predictor.explain(sample) if predictor.can_see(sample) else None
