"""An opened source whose samples get features from what is said in them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from emotailor.data.readers._common import Reading
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.encoders.base import TextEncoder
from emotailor.encoders.samples import SampleEncoder, parts_beside, said_in
from emotailor.errors import ConfigError
from emotailor.watch import Watch


class Encoding:
    """Puts an encoder behind a reader.

    Args:
        reading: an opened source whose samples have words.
        encoder: makes vectors of them.
        output: the data set to be; what is computed is kept beside it until it is complete.
        limit: most samples per split; what is beyond is not encoded.
        console: where to show how far it is; None for nowhere.

    Attributes:
        reading: the source with the modality ``text``.

    Raises:
        ConfigError: the source has features of text already, or no words.
    """

    def __init__(
        self,
        reading: Reading,
        encoder: TextEncoder,
        output: Path,
        *,
        limit: int | None = None,
        console: Console | None = None,
    ) -> None:
        if "text" in reading.dims:
            raise ConfigError(
                "an encoder is given, and the source has features of text",
                expected="one of them",
                fix="leave out --encoder, or move the features of text away",
            )

        self._source = reading
        self._limit = limit
        self._console = console or Console(quiet=True)
        self._encoder = SampleEncoder(encoder, aligned=reading.aligned, parts=parts_beside(output))

        dims: dict[Modality, int] = {**reading.dims, "text": encoder.dim}
        self.reading = replace(
            reading,
            dims={m: dims[m] for m in MODALITIES if m in dims},
            samples=self._samples(),
            extraction={**reading.extraction, "text": encoder.extraction},
        )

    def discard(self) -> None:
        """Remove what was kept beside the data set, which is complete."""
        self._encoder.discard()

    def _samples(self) -> Iterator[tuple[str, Sample]]:
        encoded = self._encoder.samples(self._within_limit(self._source.samples))
        with Watch(self._console, self._source.count, doing="encoding", done="encoded") as watch:
            for item in encoded:
                watch.advance()
                yield item
        self.reading.notes.extend(self._encoder.notes())

    def _within_limit(self, samples: Iterable[tuple[str, Sample]]) -> Iterator[tuple[str, Sample]]:
        """Yield samples; those beyond the limit of their split have nothing to be encoded."""
        taken: Counter[str] = Counter()
        for split, sample in samples:
            is_beyond = self._limit is not None and taken[split] >= self._limit
            if is_beyond:
                yield split, replace(sample, sequences={}, words=None, about={})
                continue

            taken[split] += bool(said_in(sample))
            yield split, sample
