"""What is heard, by openSMILE: the low-level descriptors of eGeMAPSv02, for who may use it.

Its licence allows research and private use, and no commercial one; so it is an extra, and never
chosen unless somebody asks for it.

Source: Eyben et al., 2016, "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice
Research and Affective Computing".
"""

from typing import Any

import numpy as np
from jaxtyping import Float32, Int16

from emotailor.data.extraction import Extraction
from emotailor.encoders.packages import need, version_of
from emotailor.errors import ConfigError
from emotailor.extraction.base import RATE, Sound, Timed
from emotailor.extraction.config import SoundConfig

PACKAGE = "opensmile"
INSTALL = 'pip install "emotailor[opensmile]"; its licence forbids commercial use'
LICENCE = "Sound was described by openSMILE, whose licence forbids commercial use."
"""Stands with everything that its features are in."""

SET = "eGeMAPSv02"
HOP = 0.01
"""Seconds from one row of openSMILE to the next."""

_HOP = round(HOP * RATE)  # samples
_SHORTEST = 960  # samples of the longest window: of less there is no row

# openSMILE keeps all sound that it was given, so it gets a minute at a time. What it knows of the
# sound before ends with a voiced passage; what it needs of the sound behind is half a second
_BLOCK = 6000  # rows
_BEFORE = 500
_BEHIND = 100


class OpenSmile:
    """Computes features by openSMILE.

    Args:
        settings: the length of a step, a whole number of openSMILE's rows, of which the others are
            left out.

    Attributes:
        names: what each column is, as openSMILE calls it.
        extraction: what makes these features those and no others.

    Raises:
        ConfigError: the extra ``opensmile`` is not installed, or the step is no such number.
    """

    def __init__(self, settings: SoundConfig) -> None:
        self._every = round(settings.step / HOP)
        if self._every < 1 or abs(self._every * HOP - settings.step) > 1e-9:
            raise ConfigError(
                f"sound.step={settings.step:g} with openSMILE",
                expected=f"a multiple of {HOP:g} seconds, its own step",
            )
        self._step = settings.step

        library = need(PACKAGE, "sound by openSMILE", INSTALL)
        self._smile: Any = library.Smile(
            feature_set=library.FeatureSet.eGeMAPSv02,
            feature_level=library.FeatureLevel.LowLevelDescriptors,
        )
        self.names: tuple[str, ...] = tuple(self._smile.feature_names)
        self.extraction = Extraction(
            extractor="openSMILE",
            version=version_of(PACKAGE),
            settings={
                "set": SET,
                "level": "lld",
                "step": settings.step,
                "rate": RATE,
                "features": list(self.names),
            },
        )

    def features(self, sound: Sound) -> Timed:
        """Return the features of a sound.

        Args:
            sound: of any length; it is read in blocks.

        Returns:
            Rows of ``names`` from 0 on without a gap. A window of openSMILE begins with its row.
            The last row ends with the sound. There is none of a sound below 60 milliseconds.
        """
        rows = self._rows(sound.samples)[:: self._every]
        edges = np.arange(len(rows) + 1) * self._step
        edges[1:] = np.minimum(edges[1:], sound.duration)
        if len(rows):
            # its last windows would be longer than what is left
            edges[-1] = sound.duration
        intervals = np.stack([edges[:-1], edges[1:]], axis=1)
        return Timed(self.names, rows, intervals, (LICENCE,))

    def _rows(self, samples: Int16[np.ndarray, "n"]) -> Float32[np.ndarray, "rows dim"]:
        """Return all rows of openSMILE, as it would compute them at once."""
        found = [np.zeros((0, len(self.names)), np.float32)]
        count = len(samples)
        if count < _SHORTEST:
            return found[0]

        # a block that ends near the end of the sound goes on to it
        for first in range(0, count // _HOP, _BLOCK):
            begin = max(first - _BEFORE, 0)
            end = (first + _BLOCK + _BEHIND) * _HOP
            rows = self._at_once(samples[begin * _HOP : end])
            if end >= count:
                found.append(rows[first - begin :])
                break
            found.append(rows[first - begin : first - begin + _BLOCK])
        return np.concatenate(found)

    def _at_once(self, samples: Int16[np.ndarray, "n"]) -> Float32[np.ndarray, "rows dim"]:
        signal = samples.astype(np.float32) / 32_768
        (values,) = self._smile(signal, RATE)  # (dim, rows)
        return np.ascontiguousarray(values.T, np.float32)
