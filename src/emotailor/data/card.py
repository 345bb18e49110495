"""The card of a data set: everything known about it but its arrays."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from emotailor.data.display import short
from emotailor.data.extraction import Extraction
from emotailor.data.sample import Modality
from emotailor.data.split_names import in_order
from emotailor.errors import DataError
from emotailor.folders import FolderKind, has_format

SCHEMA_VERSION = 2
"""Written by this version; version 1 can still be read."""

CARD_FILE = "dataset.json"

FloatType = Literal["float32", "float16"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

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
    sha256: Sha256
    samples: int = Field(0, ge=0)


class ShardCard(FileCard):
    """A shard; with the hashes of its parts, opening need not read the features.

    Attributes:
        header: SHA-256 of the bytes before the first tensor.
        tensors: name -> SHA-256 of the bytes of the tensor.
    """

    header: Sha256 | None = None
    tensors: dict[str, Sha256] | None = None


class SplitCard(BaseModel):
    """Counts of one split, and its shards in order.

    Attributes:
        samples: number of samples.
        label_counts: label -> number of samples in which it holds.
        labelled: number of samples whose labels are known; None where all are.
        shards: the files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int
    label_counts: dict[str, int]
    labelled: int | None = Field(None, ge=0)
    shards: list[ShardCard]


class DatasetCard(BaseModel):
    """Everything known about a data set but its arrays (``dataset.json``).

    Attributes:
        format: says that the file is the card of a data set.
        schema_version: of the stored format.
        name: of the data set.
        label_names: of the label columns, in their order; none in data for prediction alone.
        dims: modality -> feature width.
        dtypes: modality -> type of its values; float32 where it is not named.
        aligned: whether step i is the same moment in all modalities.
        splits: name -> counts and shards.
        statistics: file of the feature statistics; None without a split ``train``.
        attachments: files of other arrays.
        extraction: modality -> how its features were extracted, where that is known.
        provenance: where the data come from.
        repairs: what was repaired, dropped or assumed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = Field("emotailor-dataset", pattern="^emotailor-dataset$")
    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: str
    label_names: tuple[str, ...]
    dims: dict[Modality, int]
    dtypes: dict[Modality, FloatType] = Field(default_factory=dict)
    aligned: bool
    splits: dict[Annotated[str, Field(pattern=r"^\w[\w-]*$")], SplitCard]
    statistics: FileCard | None = None
    attachments: list[FileCard] = Field(default_factory=list)
    extraction: dict[Modality, Extraction] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    repairs: list[str] = Field(default_factory=list)

    @field_validator("splits")
    @classmethod
    def _order_splits(cls, splits: dict[str, SplitCard]) -> dict[str, SplitCard]:
        return in_order(splits)

    def __repr__(self) -> str:
        splits = {name: split.samples for name, split in self.splits.items()}
        labels = len(self.label_names)
        return f"DatasetCard({short(self.name)!r}, samples {splits}, {labels} labels)"

    def __str__(self) -> str:
        return repr(self)

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

    def dtype_of(self, modality: Modality) -> FloatType:
        """Return the type of a modality's values."""
        return self.dtypes.get(modality, "float32")

    @property
    def fingerprint(self) -> str:
        """A short hash over all shards: two data sets with the same one hold the same arrays.

        What version 1 could not store counts only where it is there, so that equal data have equal
        fingerprints in both versions.
        """
        parts = {name: [s.sha256 for s in self.splits[name].shards] for name in sorted(self.splits)}
        content: list[Any] = [self.label_names, sorted(self.dims.items()), self.aligned, parts]

        narrow = sorted(m for m, dtype in self.dtypes.items() if dtype != "float32")
        if narrow:
            content.append({"float16": narrow})
        if self.extraction:
            how = {m: self.extraction[m].fingerprint for m in sorted(self.extraction)}
            content.append({"extraction": how})

        key = json.dumps(content)
        return hashlib.sha256(key.encode()).hexdigest()[:16]
