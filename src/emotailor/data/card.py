"""The card of a data set: everything known about it but its arrays."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from emotailor.data.sample import Modality
from emotailor.errors import DataError
from emotailor.folders import FolderKind, has_format

SCHEMA_VERSION = 1
CARD_FILE = "dataset.json"

FOLDER = FolderKind(
    name="data set",
    marker=CARD_FILE,
    recognises=has_format("emotailor-dataset"),
    writes=(CARD_FILE, "*.safetensors"),
    signs=(CARD_FILE,),
    error=DataError,
)


def is_synthetic(content: Any) -> bool:
    """Whether the content of a ``dataset.json`` is of data that were drawn, and can be again."""
    if not FOLDER.recognises(content):
        return False
    return _was_drawn(content.get("provenance", {}))


def _was_drawn(provenance: Mapping[str, Any]) -> bool:
    return str(provenance.get("source", "")).startswith("synthetic")


class FileCard(BaseModel):
    """A file of the data set and what its bytes must hash to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=r"^[\w-][\w.-]*$")  # a name in this folder, never a path
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    samples: int = Field(0, ge=0)


class SplitCard(BaseModel):
    """Counts of one split, and its shards in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int
    label_counts: dict[str, int]
    shards: list[FileCard]


class DatasetCard(BaseModel):
    """Everything known about a data set but its arrays (``dataset.json``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = Field("emotailor-dataset", pattern="^emotailor-dataset$")
    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: str
    label_names: tuple[str, ...]
    dims: dict[Modality, int]
    aligned: bool
    splits: dict[Annotated[str, Field(pattern=r"^\w[\w-]*$")], SplitCard]
    statistics: FileCard | None = None
    attachments: list[FileCard] = Field(default_factory=list)
    provenance: dict[str, Any] = Field(default_factory=dict)
    repairs: list[str] = Field(default_factory=list)

    def attachment(self, name: str) -> FileCard | None:
        """Return the file that was attached under a name; None where there is none."""
        # earlier versions put no hash behind the name
        pattern = re.compile(re.escape(name) + r"(-[0-9a-f]{12})?\.safetensors")
        for file in self.attachments:
            if pattern.fullmatch(file.file):
                return file
        return None

    @property
    def synthetic(self) -> bool:
        """Whether the data were drawn, with a truth planted in them."""
        return _was_drawn(self.provenance)

    @property
    def drawn_with(self) -> dict[str, Any] | None:
        """The settings with which synthetic data were drawn; None of other data."""
        settings = self.provenance.get("config")
        return settings if self.synthetic and isinstance(settings, dict) else None

    @property
    def fingerprint(self) -> str:
        """A short hash over all shards: two data sets with the same one hold the same arrays."""
        parts = {name: [s.sha256 for s in self.splits[name].shards] for name in sorted(self.splits)}
        key = json.dumps([self.label_names, sorted(self.dims.items()), self.aligned, parts])
        return hashlib.sha256(key.encode()).hexdigest()[:16]
