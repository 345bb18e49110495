"""How features were extracted: what a model must know before it takes features of a new clip."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Extraction(BaseModel):
    """How the features of one modality were extracted.

    Two modalities with equal fingerprints were extracted in the same way, so that a model trained
    on the one may be used on the other.

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
