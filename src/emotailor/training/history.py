"""``metrics.jsonl``: what every epoch of a training measured, one record a line.

The one owner of the file: everybody else reads it by ``read_history``.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from emotailor.errors import ModelError
from emotailor.files import write_text

METRICS_FILE = "metrics.jsonl"

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


def write_history(run: Path, history: Sequence[EpochRecord]) -> None:
    """Write the records of all epochs, replacing the file.

    Args:
        run: run folder.
        history: one record per epoch, in order.
    """
    lines = []
    for record in history:
        values = record.to_json()
        line = json.dumps(values, allow_nan=False)
        lines.append(line + "\n")

    write_text(run / METRICS_FILE, "".join(lines))


def read_history(run: Path) -> list[EpochRecord]:
    """Return one record per epoch; an empty list where the folder has no such file.

    Args:
        run: run folder.

    Raises:
        ModelError: the file cannot be read, or a line of it is damaged.
    """
    file = run / METRICS_FILE
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(file, str(error)) from error

    history: list[EpochRecord] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = EpochRecord.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]
            raise _damaged(file, f"line {number}: {problem['msg']}") from error

        if history and record.train.keys() != history[0].train.keys():
            raise _damaged(file, f"line {number}: other losses than in the first line")
        history.append(record)
    return history


def _damaged(file: Path, what: str) -> ModelError:
    return ModelError(
        f"{file} is damaged: {what}",
        expected="one JSON record per epoch, as the training wrote it",
        fix="put it back from a copy; the model still works without it",
    )
