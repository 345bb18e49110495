"""How features were extracted: what a model must know before it takes features of a new clip."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from emotailor.errors import ModelError

MOST_SHOWN = 8
"""Values of a setting that are told; of more, how many there are."""


class Extraction(BaseModel):
    """How the features of one modality were extracted.

    A model that was trained on the features of one may be used on those of another that
    :meth:`makes_the_same_as` it.

    Attributes:
        extractor: name of the program or model, such as ``COVAREP`` or ``all-MiniLM-L6-v2``.
        version: version of that program; empty where it is unknown.
        settings: everything that changes the values: layer, frame rate, names of the columns.
        sha256: hash of the weights, where the extractor has any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    extractor: str = Field(min_length=1)
    version: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all fields."""
        content = self.model_dump(mode="json")
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def makes_the_same_as(self, other: "Extraction") -> bool:
        """Whether two extractors yield the same features.

        Where both have hashes of their weights, neither what they are called nor which package
        carries them matters.
        """
        if self.sha256 is None or other.sha256 is None:
            return self.fingerprint == other.fingerprint
        return self.sha256 == other.sha256 and self.settings == other.settings

    def describe(self) -> str:
        """Return extractor, version, settings and hash in one line."""
        parts = [self.extractor]
        if self.version:
            parts.append(self.version)
        if self.settings:
            shown = {name: _shown(value) for name, value in self.settings.items()}
            parts.append(json.dumps(shown, sort_keys=True, ensure_ascii=False))
        if self.sha256 is not None:
            parts.append(f"weights {self.sha256[:12]}")
        return " ".join(parts)


def _shown(value: Any) -> Any:
    """Return a setting as it is told: of a long list how long it is."""
    if isinstance(value, list) and len(value) > MOST_SHOWN:
        return f"{len(value)} values"
    return value


def check_extraction(
    found: Mapping[Any, Extraction],
    expected: Mapping[Any, Extraction],
    modalities: Iterable[str],
    name: str,
) -> None:
    """Refuse features that were extracted in another way than those a model was trained on.

    Where one side does not say how, nothing is claimed and nothing refused.

    Args:
        found: modality -> how the features at hand were extracted.
        expected: modality -> how those that the model was trained on were.
        modalities: that the model takes.
        name: of the data at hand, for the message.

    Raises:
        ModelError: a modality was extracted in another way.
    """
    for m in modalities:
        ours = found.get(m)
        wanted = expected.get(m)
        if ours is None or wanted is None or ours.makes_the_same_as(wanted):
            continue

        raise ModelError(
            f"{m} of {name} was extracted with {ours.describe()}",
            expected=f"{wanted.describe()}, on whose features the model was trained",
            fix="extract the features as for the training, or use a model trained on these",
        )
