"""What a comparison has found, as stored in ``benchmark.json`` or ``ablation.json``.

The one place that knows this format. ``runner`` writes it, reports and later calls read it. While a
first call is under way the file only says whose the folder is: it has no ``systems`` yet.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from emotailor.config import first_problem
from emotailor.errors import DataError
from emotailor.evaluation.calibration import Calibration
from emotailor.evaluation.comparison import PairedDifference, SeedSummary
from emotailor.evaluation.metrics import Metrics
from emotailor.evaluation.protocols import Protocols
from emotailor.evaluation.tables import TESTED
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.files import json_text, write_together
from emotailor.verified import read_json

VERSION = 2
EXPECTED = f"a file that emotailor wrote, of version {VERSION} or before"
FIX = "run the benchmark again with the same command: what is trained is not lost"

FILES = {"benchmark.json": "Benchmark", "ablation.json": "Ablations"}
"""Name of the file -> title of what it holds."""

Status = Literal["done", "incomplete", "failed", "skipped"]


class StoredRun(BaseModel):
    """One run.

    Attributes:
        seed: seed of the training.
        folder: run folder.
        log: file with what the training printed.
        failed: why the run failed; None where it has not.
        exit_code: exit code of the training; None where the run was trained before.
        seconds: time of the training, in seconds.
        epochs: number of epochs done.
        selected_epoch: epoch of the selected model.
        metrics: kind of thresholds -> metrics on the tested split; empty where the run failed.
        notes: what a reader of these metrics must know.
        findings: what is suspicious about the run.
        calibration: how far its probabilities can be believed; None where it failed, or where
            earlier versions wrote the file.
        protocols: what the rules of other programs would report; None where that was not kept.
    """

    seed: int
    folder: str
    log: str
    failed: str | None = None
    exit_code: int | None = None
    seconds: float | None = None
    epochs: int | None = None
    selected_epoch: int | None = None
    metrics: dict[ThresholdMode, Metrics] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    findings: list[str] = Field(default_factory=list)
    calibration: Calibration | None = None
    protocols: Protocols | None = None


class StoredSystem(BaseModel):
    """One row of the table: a system, or a variant of a system.

    Attributes:
        title: title in tables.
        paper: citation.
        status: what became of the runs.
        skipped: why there are no runs; None where there are.
        summary: means and deviations over the runs; None where no run was tested.
        minus_reference: metric -> difference from the reference.
        published: metric -> published number.
        parameters: number of parameters of one model.
        seconds: mean time of a training, in seconds.
        config: settings of the first run.
        below: the baselines that are better, and in what; empty where none is.
        code: for a system from outside the package, what loads it; None for all others.
        rule: letter of the rule of its authors.
        runs: one per seed.
    """

    title: str
    paper: str = ""
    status: Status
    skipped: str | None = None
    summary: SeedSummary | None = None
    minus_reference: dict[str, PairedDifference] = Field(default_factory=dict)
    published: dict[str, float] = Field(default_factory=dict)
    parameters: int | None = None
    seconds: float | None = None
    config: dict[str, Any] | None = None
    below: str = ""
    code: str | None = None
    rule: str = ""
    runs: list[StoredRun]

    @property
    def done(self) -> int:
        """Number of runs that were tested."""
        return sum(bool(run.metrics) for run in self.runs)


class StoredBaseline(BaseModel):
    """What every system must beat, on the same samples.

    Attributes:
        metrics: metrics on the tested split, thresholds of the kind that decides.
        minus_reference: metric -> difference from the reference.
        strength: C of a regression; None of the others.
        calibration: how far its probabilities can be believed; None of what gives none, or where
            earlier versions wrote the file.
    """

    metrics: Metrics
    minus_reference: dict[str, PairedDifference] = Field(default_factory=dict)
    strength: float | None = None
    calibration: Calibration | None = None


class StoredData(BaseModel):
    """The data set.

    Attributes:
        name: name of the data set.
        path: its folder.
        fingerprint: hash of its content.
        aligned: whether it is word-aligned.
        samples: split -> number of samples.
    """

    name: str
    path: str
    fingerprint: str
    aligned: bool
    samples: dict[str, int]


class StoredTest(BaseModel):
    """The paired test.

    Attributes:
        reference: name of the row that the others are compared with.
        resamples: number of resamples.
        weak: the reference does not beat a baseline that knows nothing of the input, so that a
            small p says little.
    """

    reference: str
    resamples: int
    weak: bool = False


class StoredBenchmark(BaseModel):
    """Everything that a benchmark or an ablation has found.

    Attributes:
        format: ``emotailor-benchmark`` or ``emotailor-ablation``.
        version: version of the format; files without one are of version 1.
        emotailor: version of emotailor that wrote the file.
        data: data set.
        split: tested split.
        thresholds: kind of thresholds that decides.
        paper: which published numbers stand beside; None without any.
        jobs: ``at_once``, ``threads`` and ``gpus`` of the runs.
        test: paired test; None without one.
        notes: what a reader of the numbers must know.
        findings: what else is to be said of the differences.
        metrics: names of the metrics of others, beside ours.
        systems: name of a row -> row, in the order of the table.
        baselines: name -> what every system must beat; empty where earlier versions wrote the file.
    """

    format: str = Field(pattern="^emotailor-(benchmark|ablation)$")
    version: int = Field(1, ge=1, le=VERSION)
    emotailor: str
    data: StoredData
    split: str
    thresholds: ThresholdMode
    paper: str | None = None
    jobs: dict[str, int] = Field(default_factory=dict)
    test: StoredTest | None = None
    notes: list[str] = Field(default_factory=list)
    findings: list[str] = Field(default_factory=list)
    metrics: list[str] = Field(default_factory=list)
    systems: dict[str, StoredSystem]
    baselines: dict[str, StoredBaseline] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "StoredBenchmark":
        if not self.systems:
            raise ValueError("systems is empty")

        seeds_of_all: set[tuple[int, ...]] = set()
        for name, system in self.systems.items():
            seeds = tuple(run.seed for run in system.runs)
            if len(set(seeds)) != len(seeds):
                raise ValueError(f"systems.{name}: two runs have one seed")
            if seeds:
                seeds_of_all.add(seeds)
            self._check_metrics(name, system)

        if len(seeds_of_all) > 1:
            raise ValueError("the systems have other seeds than each other")
        return self

    def _check_metrics(self, name: str, system: StoredSystem) -> None:
        """Refuse a system that lacks a metric that every tested one has."""
        if system.summary is not None and TESTED not in system.summary.overall:
            raise ValueError(f"systems.{name}.summary: no {TESTED}")

        for run in system.runs:
            if not run.metrics:
                continue
            decisive = run.metrics.get(self.thresholds)
            if decisive is None:
                raise ValueError(f"systems.{name}: no metrics under {self.thresholds} thresholds")
            missing = set(self.metrics) - set(decisive.extra)
            if missing:
                raise ValueError(f"systems.{name}: no {min(missing)}")

    @property
    def is_ablation(self) -> bool:
        """Whether the rows are variants of one system."""
        return self.format == "emotailor-ablation"

    def tested(self) -> set[tuple[str, int]]:
        """Return name and seed of every run that was tested."""
        found = set()
        for name, system in self.systems.items():
            for run in system.runs:
                if run.metrics:
                    found.add((name, run.seed))
        return found


def find_benchmark(folder: Path) -> Path | None:
    """Return the file that says what a comparison found; None where ``folder`` is none."""
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    return None


def read_benchmark(file: Path) -> StoredBenchmark:
    """Read what a comparison found.

    Raises:
        DataError: the file is missing or damaged, or the comparison has not ended.
    """
    found = read_ended(file)
    if found is None:
        raise DataError(
            f"{file.parent} holds no results yet",
            expected="a benchmark that has ended",
            fix="run the same command again, which resumes it",
        )
    return found


def read_ended(file: Path) -> StoredBenchmark | None:
    """Read what a comparison found; None where it has not ended.

    Raises:
        DataError: the file is missing or damaged.
    """
    values = read_json(file, expected=EXPECTED, fix=FIX)

    # a first call marks the folder as its own before it has found anything
    if "format" in values and "systems" not in values:
        return None

    try:
        return StoredBenchmark.model_validate(values)
    except ValidationError as error:
        raise _damaged(file, first_problem(error)) from error


def _damaged(file: Path, why: str) -> DataError:
    return DataError(
        f"{file} is damaged or of another version: {why}",
        expected=EXPECTED,
        fix=FIX,
    )


def write_benchmark(
    file: Path, found: StoredBenchmark, tables: Mapping[str, str] | None = None
) -> tuple[Path, ...]:
    """Write what a comparison found, and its tables; return the files.

    The file comes last: where it is there, the tables are those of it.

    Args:
        file: where to write.
        found: what was found.
        tables: name of a file beside it -> its content.
    """
    texts = {}
    for name, text in (tables or {}).items():
        texts[file.with_name(name)] = text

    values = {**found.model_dump(mode="json"), "version": VERSION}
    texts[file] = json_text(values)
    write_together(texts)
    return file, *list(texts)[:-1]
