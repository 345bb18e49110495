"""An ONNX file of ours: a graph, the card of its model, and a description for strangers.

Notable:

- everything but the graph is in the metadata of the file, as text and JSON, and behind the graph;
- the last entry is the SHA-256 of all bytes before it: a file whose bytes have changed is refused;
- a file is looked into before anything runs it. One with weights in other files is refused: a path
  in a file from a stranger could lead anywhere.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from emotailor.config import first_problem
from emotailor.data.sample import Modality
from emotailor.errors import ModelError
from emotailor.export.protobuf import has_data_elsewhere, metadata_entry, metadata_of
from emotailor.training.model_folder import ModelCard
from emotailor.verified import MAX_DEPTH, is_deeper

SUFFIX = ".onnx"
VERSION = 1
"""Of what we write into the metadata."""

MAX_BYTES = 2**31 - 1
"""The most bytes of a protobuf."""

_SEAL = "emotailor:sha256"
_SEAL_BYTES = len(metadata_entry(_SEAL, "0" * 64))
_OURS = "emotailor:model"
FIX = "write it again with `emotailor export MODEL --onnx FILE`, or copy it again"


class Described(BaseModel):
    """What an ONNX file says of its model.

    Attributes:
        format: ``emotailor-onnx``.
        version: of this description.
        card: the card of the model, as in its folder.
        most_steps: modality -> the longest sequence that the model can take; None for any.
        takes_unaligned: whether the modalities of a sample may differ in length.
        attention: the blocks that the model has attention to, each an output ``attention.BLOCK``.
        int8: whether the weights were rounded to 8 bits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = Field("emotailor-onnx", pattern="^emotailor-onnx$")
    version: int = Field(VERSION, ge=1, le=VERSION)
    card: ModelCard
    most_steps: dict[Modality, PositiveInt | None]
    takes_unaligned: bool
    attention: tuple[str, ...] = ()
    int8: bool = False


@dataclass(frozen=True)
class OnnxContent:
    """An ONNX file of ours that was looked into.

    Attributes:
        path: the file.
        content: its bytes.
        described: what it says of its model.
    """

    path: Path
    content: bytes
    described: Described


def is_onnx(path: str | Path) -> bool:
    """Whether a path is called as ONNX files are."""
    return Path(path).suffix.lower() == SUFFIX


def finish(graph: bytes, described: Described) -> bytes:
    """Return the content of a file: a graph, what there is to say of it, and the seal."""
    parts = [graph]
    for key, value in _metadata(described).items():
        parts.append(metadata_entry(key, value))
    body = b"".join(parts)
    seal = metadata_entry(_SEAL, hashlib.sha256(body).hexdigest())
    return body + seal


def _metadata(described: Described) -> dict[str, str]:
    """Return all entries: the description for us, and the same for who knows nothing of us."""
    card = described.card
    thresholds = card.thresholds[card.default_thresholds].values
    own = described.model_dump(mode="json")
    return {
        _OURS: json.dumps(own, ensure_ascii=False),
        "emotailor:labels": json.dumps(card.label_names, ensure_ascii=False),
        "emotailor:thresholds": json.dumps(dict(thresholds), ensure_ascii=False),
        "emotailor:inputs": json.dumps(_inputs(described), ensure_ascii=False),
        "emotailor:outputs": json.dumps(_outputs(described), ensure_ascii=False),
    }


def _inputs(described: Described) -> dict[str, Any]:
    card = described.card
    steps = "the same steps in all inputs" if card.aligned else "steps of its own"
    inputs: dict[str, Any] = {}
    for m, dim in card.dims.items():
        made = card.extraction.get(m)
        inputs[m] = {
            "type": "float32",
            "shape": ["batch", "steps" if card.aligned else f"{m}_steps", dim],
            "most_steps": described.most_steps[m],
            "what": f"raw {m} features, {steps}; masked steps may hold anything",
            "made_by": None if made is None else made.describe(),
        }
        inputs[f"{m}_mask"] = {
            "type": "bool",
            "shape": inputs[m]["shape"][:2],
            "what": "true at real steps; a row without any lacks the modality",
        }
    return inputs


def _outputs(described: Described) -> dict[str, Any]:
    labels = len(described.card.label_names)
    outputs = {
        "logits": {"shape": ["batch", labels], "what": "of each label, as the network has them"},
        "probabilities": {
            "shape": ["batch", labels],
            "what": "of each label; it holds where this is above its threshold",
        },
    }
    for block in described.attention:
        outputs[f"attention.{block}"] = {
            "shape": ["batch", labels, "steps"],
            "what": "attention of each label, the mean over heads",
        }
    return outputs


def read_onnx(path: Path) -> OnnxContent:
    """Read an ONNX file of ours, and look into it; nothing of it is run.

    Raises:
        ModelError: it is missing, too large, damaged, or not one that emotailor wrote.
    """
    content = _read(path)
    view = memoryview(content)
    try:
        entries = metadata_of(view)
        elsewhere = has_data_elsewhere(view)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error

    if _OURS not in entries or _SEAL not in entries:
        raise ModelError(
            f"{path} is not an ONNX file that emotailor wrote: it says nothing of labels",
            expected="a file of `emotailor export`",
            fix="write one with `emotailor export MODEL --onnx FILE`",
        )
    if elsewhere:
        raise _damaged(path, "its weights are to be read from other files")
    if view[-_SEAL_BYTES:] != metadata_entry(_SEAL, _hash(view[:-_SEAL_BYTES])):
        raise _damaged(path, f"its content is not what was written ({_SEAL} differs)")
    return OnnxContent(path, content, _described(path, entries[_OURS]))


def _read(path: Path) -> bytes:
    """Return the bytes of a file that is not too large.

    Raises:
        ModelError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise _damaged(
                    path, f"it has {size:,} bytes, and an ONNX file at most {MAX_BYTES:,}"
                )
            # no more than that, whatever it is
            return file.read(MAX_BYTES)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", fix=FIX) from error


def _hash(content: memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def _described(path: Path, text: str) -> Described:
    """Return what a file says of its model.

    Raises:
        ModelError: it is damaged, or of another version.
    """
    try:
        values = json.loads(text, parse_constant=_refuse)
        if is_deeper(values, MAX_DEPTH):
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        described = Described.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            f"{path} is damaged or of another version: {first_problem(error)}",
            expected=f"a file of version {VERSION} or before",
            fix=f"{FIX}, or use the version of emotailor that wrote it",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if set(described.most_steps) != set(described.card.dims):
        raise _damaged(path, "it does not say how long sequences may be")
    return described


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path} is damaged: {why}",
        expected="a file as `emotailor export` wrote it",
        fix=FIX,
    )
