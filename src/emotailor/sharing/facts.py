"""What a trained model knows of itself, as far as others may know it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from emotailor.encoders.table import name_of
from emotailor.errors import ConfigError
from emotailor.evaluation.comparison import Interval
from emotailor.evaluation.display import title_of
from emotailor.evaluation.metrics import Metrics
from emotailor.models.table import find_system
from emotailor.runs.run import Run
from emotailor.runs.stored import StoredEvaluation
from emotailor.shipped.card import ShippedCard, read_card
from emotailor.shipped.find import is_shipped
from emotailor.training.model_folder import ModelCard

OF_VIDEOS = ("MediaPipe FaceLandmarker blendshapes", "emotailor-acoustic", "openSMILE")
"""What ``emotailor predict clip.mp4`` makes features of pictures and of sound with."""

# /home/somebody/data, C:\Users\somebody, \\server\share, ~/data; a date or a ratio is none
_PATH = re.compile(r"(?<![\w:/.])(?:/(?:[^/\s'\",;:]+/)+|[A-Za-z]:[\\/]|\\\\\w|~/)[^\s'\",;]*")


@dataclass(frozen=True)
class LabelResult:
    """How the model does on one label.

    Attributes:
        held: share of the samples that have it.
        named: share for which it is named.
        precision: share of the named that have it.
        recall: share of those that have it that are named.
        average_precision: None where it is not defined.
        roc_auc: likewise.
    """

    held: float
    named: float
    precision: float
    recall: float
    average_precision: float | None
    roc_auc: float | None


@dataclass(frozen=True)
class Result:
    """How the model does on one split.

    Attributes:
        data: name of the data set.
        fingerprint: of the data set; empty where it is unknown.
        split: name of the split.
        samples: number of samples.
        thresholds: kind of thresholds that decided.
        metrics: metric -> value, None where it is not defined.
        intervals: metric -> interval, of those that have one.
        labels: label -> how the model does on it.
        beside: lines on what stands beside it.
    """

    data: str
    fingerprint: str
    split: str
    samples: int
    thresholds: str
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval]
    labels: Mapping[str, LabelResult]
    beside: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """Everything that a model card says.

    Attributes:
        card: of the model, without paths.
        title: of its system.
        paper: citation of its system; empty where there is none.
        is_known: whether its system comes with the package.
        results: how it does, by split.
        findings: what is suspicious about it.
        not_for: what it must not be used for.
        licences: what -> its licence, where the model knows it.
        languages: of its words, as codes.
    """

    card: ModelCard
    title: str
    paper: str
    is_known: bool
    results: Sequence[Result] = ()
    findings: Sequence[str] = ()
    not_for: Sequence[str] = ()
    licences: Mapping[str, str] = field(default_factory=dict)
    languages: Sequence[str] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model takes, in the order of its features."""
        return tuple(self.card.dims)

    @property
    def encoder(self) -> str | None:
        """The name of the text encoder that comes with an extra; None where there is none."""
        extraction = self.card.extraction.get("text")
        if extraction is None or "text" not in self.card.dims:
            return None
        return name_of(extraction)

    @property
    def reads_texts(self) -> bool:
        """Whether ``predict --text`` works: the model takes words alone, and says how."""
        return self.modalities == ("text",) and self.encoder is not None

    @property
    def takes_videos(self) -> bool:
        """Whether ``predict clip.mp4`` works: all of its features can be made of a video."""
        for modality in self.card.dims:
            extraction = self.card.extraction.get(modality)
            if modality == "text":
                if self.encoder is None:
                    return False
            elif extraction is None or extraction.extractor not in OF_VIDEOS:
                return False
        return True


def facts_of(model: str | Path, languages: Sequence[str] = ()) -> Facts:
    """Return what a model knows of itself, without what only its machine should know.

    Args:
        model: run folder, model folder, or the name of a model.
        languages: of its words, as codes such as ``en``.

    Raises:
        ModelError: there is no trained model, or its card is damaged.
        DataError: a stored evaluation is damaged.
    """
    run = Run.open(model)
    card = without_paths_of(run.model)
    shipped = read_card(str(model)) if is_shipped(model) else None
    stored = _stored(run)
    results = [_of_stored(evaluation) for evaluation in stored]
    if shipped is not None:
        results.insert(0, _of_shipped(shipped))

    findings = [line for evaluation in stored for line in evaluation.findings or ()]
    title, paper, is_known = _system(card.system)
    return Facts(
        card=card,
        title=title,
        paper=paper,
        is_known=is_known,
        results=results,
        findings=[without_paths(line) for line in dict.fromkeys(findings)],
        not_for=() if shipped is None else shipped.not_for,
        licences={} if shipped is None else shipped.licences,
        languages=languages,
    )


def _system(name: str) -> tuple[str, str, bool]:
    """Return title and citation of a system, and whether it comes with the package."""
    try:
        row = find_system(name)
    except ConfigError:
        return without_paths(name), "", False
    return row.title, row.paper, row.code is None


# ---------------------------------------------------------------------- results


def _stored(run: Run) -> list[StoredEvaluation]:
    """Return the stored evaluations that are of this model, by the name of their split."""
    found = []
    for file in sorted(run.folder.glob("evaluation-*.json")):
        split = file.stem.removeprefix("evaluation-")
        evaluation = run.evaluation(split)
        if evaluation is not None:
            found.append(evaluation)
    return found


def _of_stored(evaluation: StoredEvaluation) -> Result:
    metrics = evaluation.metrics[evaluation.thresholds]
    return Result(
        data=without_paths(evaluation.data.get("name", "unknown")),
        fingerprint=evaluation.data.get("fingerprint", ""),
        split=evaluation.split,
        samples=metrics.samples,
        thresholds=evaluation.thresholds,
        metrics=metrics.overall(),
        intervals=evaluation.intervals,
        labels=_labels(metrics),
        beside=[
            f"micro-F1 minus that of {name}: {difference}"
            for name, difference in evaluation.differences.items()
        ],
    )


def _labels(metrics: Metrics) -> dict[str, LabelResult]:
    found = {}
    for name, label in metrics.labels.items():
        found[name] = LabelResult(
            held=label.support / metrics.samples,
            named=label.predicted / metrics.samples,
            precision=label.precision,
            recall=label.recall,
            average_precision=label.average_precision,
            roc_auc=label.roc_auc,
        )
    return found


def _of_shipped(card: ShippedCard) -> Result:
    labels = {}
    for name, label in card.labels.items():
        labels[name] = LabelResult(
            held=label.held,
            named=label.named,
            precision=label.precision,
            recall=label.recall,
            average_precision=label.average_precision.value,
            roc_auc=label.roc_auc.value,
        )
    beside = []
    for other in card.beside:
        for metric, difference in other.differences.items():
            whose = f"{other.name}, thresholds {other.thresholds}"
            beside.append(f"{title_of(metric)} minus that of {whose}: {difference}")
    return Result(
        data=card.data["name"],
        fingerprint=card.data.get("fingerprint", ""),
        split="test",
        samples=card.samples["test"],
        thresholds=card.thresholds,
        metrics={name: interval.value for name, interval in card.scores.items()},
        intervals=card.scores,
        labels=labels,
        beside=beside,
    )


# ---------------------------------------------------------------------- what stays here


def without_paths(text: str) -> str:
    """Return a text in which each absolute path is its last part: the rest says whose it is."""
    return _PATH.sub(lambda found: _last_part(found[0]), text)


def _last_part(path: str) -> str:
    kind = PureWindowsPath if "\\" in path or path[1:2] == ":" else PurePosixPath
    return kind(path).name or "..."


def without_paths_of(card: ModelCard) -> ModelCard:
    """Return the card of a model without paths of the machine that it was trained on."""
    values = {name: _cleaned(value) for name, value in card.model_dump(mode="json").items()}
    return ModelCard.model_validate({**values, "device": None})


def _cleaned(value: Any) -> Any:
    """Return a value of JSON in which no text holds an absolute path."""
    if isinstance(value, str):
        # a whole text may be a path with spaces in it
        is_path = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
        return _last_part(value) if is_path else without_paths(value)
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _cleaned(inner) for name, inner in value.items()}
    return value
