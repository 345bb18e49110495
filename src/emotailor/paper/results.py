"""What is known of a reproduction, as stored in ``reproduction.json``.

The one place that knows this format. ``reproduce`` writes it, and its page is made of it.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from emotailor.config import first_problem
from emotailor.errors import DataError
from emotailor.files import json_text, write_together
from emotailor.verified import is_there, read_json

VERSION = 2
FORMAT = "emotailor-reproduction"
FILE = "reproduction.json"
REPORT_FILE = "report.html"
EXPECTED = f"a file that emotailor wrote, of version {VERSION} or before"
FIX = "run the same command again, which writes it anew: what is trained is not lost"


class StoredStage(BaseModel):
    """One comparison of runs.

    Attributes:
        title: what it is of the paper.
        kind: ``benchmark`` or ``ablation``.
        data: path of the data set.
        paper: whether published numbers stand beside.
        runs: number of runs that no earlier stage has.
        done: number of these that are done.
    """

    title: str
    kind: str
    data: str
    paper: bool
    runs: int
    done: int


class StoredCall(BaseModel):
    """A call that has ended.

    Attributes:
        expected: stage -> seconds that it was expected to take.
        taken: stage -> seconds that it took.
        runs: stage -> system -> expected seconds of one run.
        summary: sentence on the expected and the taken time.
    """

    expected: dict[str, float]
    taken: dict[str, float]
    runs: dict[str, dict[str, float]]
    summary: str


class StoredReproduction(BaseModel):
    """Everything that is known of a reproduction.

    Attributes:
        format: ``emotailor-reproduction``.
        version: version of the format; files without one are of version 1.
        emotailor: version of emotailor that wrote the file.
        stages: name of a folder -> stage, in order.
        options: options of the command.
        device: device that the runs are trained on.
        left_out: what of the paper cannot be done, and why.
        missing: what failed, and why.
        calls: calls that have ended.
    """

    format: str = Field(FORMAT, pattern=f"^{FORMAT}$")
    version: int = Field(1, ge=1, le=VERSION)
    emotailor: str
    stages: dict[str, StoredStage]
    options: dict[str, Any]
    device: str
    left_out: list[str]
    missing: list[str]
    calls: list[StoredCall]

    @property
    def runs(self) -> int:
        """Number of runs of all stages; a run that two stages need counts once."""
        return sum(stage.runs for stage in self.stages.values())

    @property
    def done(self) -> int:
        """Number of these runs that are done."""
        return sum(stage.done for stage in self.stages.values())


def read_reproduction(out: Path) -> StoredReproduction | None:
    """Read what is stored of a reproduction; None where its first stage has not ended.

    Raises:
        DataError: the file is damaged.
    """
    file = out / FILE
    if not is_there(file):
        return None

    values = read_json(file, expected=EXPECTED, fix=FIX)

    # whose the folder is, as a first call says before its first stage has ended
    if values == {"format": FORMAT}:
        return None

    try:
        return StoredReproduction.model_validate(values)
    except ValidationError as error:
        raise _damaged(file, first_problem(error)) from error


def _damaged(file: Path, why: str) -> DataError:
    return DataError(
        f"{file} is damaged or of another version: {why}",
        expected=EXPECTED,
        fix=FIX,
    )


def write_reproduction(out: Path, found: StoredReproduction, page: str) -> Path:
    """Write what is known of a reproduction, and its page; return the page.

    The file comes last: where a call is stored, the page shows it.

    Args:
        out: folder of the reproduction.
        found: what is known.
        page: the page as HTML.
    """
    report = out / REPORT_FILE
    values = {**found.model_dump(mode="json"), "version": VERSION}
    write_together({report: page, out / FILE: json_text(values)})
    return report
