"""``metrics.jsonl``: what every epoch of a training measured, one record a line.

The one owner of the file: everybody else reads it by ``read_history``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from emotailor.config import first_problem
from emotailor.errors import ModelError
from emotailor.files import write_text
from emotailor.frames import data_frame
from emotailor.verified import content_hash, is_there, read_text

METRICS_FILE = "metrics.jsonl"
CHECK_KEY = "check"
EXPECTED = "one JSON record per epoch, as the training wrote it"
FIX = (
    "run its `emotailor train` again, which writes it from the checkpoint, or put it back from a "
    "copy; the model works without it"
)

NEEDED_SCORES = ("loss", "accuracy", "micro_f1")


class EpochRecord(BaseModel):
    """What one epoch measured.

    Attributes:
        epoch: number of epochs done, from 1.
        step: number of optimizer steps done.
        train: loss name -> mean over the training samples of the epoch; empty for a fitted system.
        valid: loss and overall metrics on the validation split; None where one is not defined.
        seconds: time of the whole training so far.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epoch: int = Field(ge=1)
    step: int = Field(ge=0)
    train: dict[str, float]
    valid: dict[str, float | None]
    seconds: float = Field(ge=0)

    @field_validator("valid")
    @classmethod
    def _check_scores(cls, valid: dict[str, float | None]) -> dict[str, float | None]:
        missing = [name for name in NEEDED_SCORES if valid.get(name) is None]
        if missing:
            raise ValueError(f"no number for {', '.join(missing)}")
        return valid

    def score(self, name: str) -> float:
        """Return a validation score; NaN where it is not defined."""
        value = self.valid[name]
        return math.nan if value is None else value

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.model_dump(mode="json")

    def __repr__(self) -> str:
        parts = [f"epoch {self.epoch}"]
        if self.train:
            parts.append(f"train loss {self.train['total']:.4g}")
        parts.append(f"valid loss {self.valid['loss']:.4g}")
        parts.append(f"micro-F1 {self.valid['micro_f1']:.3f}")
        return f"EpochRecord({', '.join(parts)})"

    def __str__(self) -> str:
        return repr(self)


def history_frame(history: Sequence[EpochRecord]) -> Any:
    """Return a ``pandas.DataFrame``: a row per epoch, such as ``train_total``, ``valid_micro_f1``.

    Raises:
        ConfigError: pandas is not installed.
    """
    rows = []
    for record in history:
        row: dict[str, Any] = {"epoch": record.epoch, "step": record.step}
        row["seconds"] = record.seconds
        row |= {f"train_{name}": value for name, value in record.train.items()}
        row |= {f"valid_{name}": value for name, value in record.valid.items()}
        rows.append(row)
    return data_frame(rows, index="epoch")


def write_history(run: Path, history: Sequence[EpochRecord]) -> None:
    """Write the records of all epochs, replacing the file.

    Args:
        run: run folder.
        history: one record per epoch, in order.
    """
    lines = []
    for record in history:
        values = record.to_json()
        line = json.dumps({**values, CHECK_KEY: _check_of(values)}, allow_nan=False)
        lines.append(line + "\n")

    write_text(run / METRICS_FILE, "".join(lines))


def restore_history(run: Path, history: Sequence[EpochRecord]) -> None:
    """Write the records again where the file is lost, damaged, or has others.

    Args:
        run: run folder.
        history: one record per epoch, in order, from the checkpoint.
    """
    try:
        if read_history(run) == list(history):
            return
    except ModelError:  # what it held is in the checkpoint
        pass
    write_history(run, history)


def read_history(run: Path) -> list[EpochRecord]:
    """Return one record per epoch; an empty list where the folder has no such file.

    Args:
        run: run folder.

    Raises:
        ModelError: the file cannot be read, or a line of it is damaged.
    """
    file = run / METRICS_FILE
    if not is_there(file):
        return []

    # other characters that end a line elsewhere do not end one here
    text = read_text(file, error=ModelError, expected=EXPECTED, fix=FIX)
    history: list[EpochRecord] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue

        record, problem = _parse(line)
        if record is None:
            raise _damaged(file, f"line {number}: {problem}")

        epoch = len(history) + 1
        if record.epoch != epoch:
            raise _damaged(file, f"line {number}: epoch {record.epoch} instead of {epoch}")
        if history and record.train.keys() != history[0].train.keys():
            raise _damaged(file, f"line {number}: other losses than in the first line")
        history.append(record)
    return history


def _parse(line: str) -> tuple[EpochRecord | None, str]:
    """Return the record of a line, or None and what is wrong with it."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, str(error)
    if not isinstance(values, dict):
        return None, f"it holds a {type(values).__name__}"

    # lines of earlier versions have no check; under another name it is an unknown key
    is_checked = CHECK_KEY in values
    check = values.pop(CHECK_KEY, None)
    try:
        record = EpochRecord.model_validate(values)
        digits = _check_of(values)
    except ValidationError as error:
        return None, first_problem(error)
    except ValueError as error:  # half a character
        return None, str(error)

    if is_checked and check != digits:
        return None, f"it is not what was written ({CHECK_KEY} differs)"
    return record, ""


def _check_of(values: Mapping[str, Any]) -> str:
    """Return eight digits that change with the values."""
    return content_hash(values)[:8]


def _damaged(file: Path, what: str) -> ModelError:
    return ModelError(f"{file} is damaged: {what}", expected=EXPECTED, fix=FIX)
