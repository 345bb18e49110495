"""Predicting from Python: paths, data sets, samples or one sample."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, overload

from emotailor.data.cutting import MaxSteps
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import Sample
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.runs.sources import open_sources
from emotailor.serving.given import is_one, samples_in
from emotailor.serving.prediction import Prediction, Predictions
from emotailor.serving.predictor import Predictor

ItemT = TypeVar("ItemT")


# ---------------------------------------------------------------------- from Python


@overload
def predict(
    model: str | Path | Predictor,
    source: EmotionDataset | Split | str | Path | Sequence[str] | Sequence[Path],
    *,
    split: str | None = None,
    ids: Sequence[str] = (),
    limit: int | None = None,
    explain: bool = False,
    thresholds: ThresholdMode | None = None,
    device: str = "auto",
    max_steps: MaxSteps | None = None,
    strict: bool = True,
) -> Predictions: ...


@overload
def predict(
    model: str | Path | Predictor,
    source: Sample | Mapping[str, Any],
    *,
    split: str | None = None,
    ids: Sequence[str] = (),
    limit: int | None = None,
    explain: bool = False,
    thresholds: ThresholdMode | None = None,
    device: str = "auto",
    max_steps: MaxSteps | None = None,
    strict: bool = True,
) -> Prediction: ...


@overload
def predict(
    model: str | Path | Predictor,
    source: Iterable[Sample | Mapping[str, Any]],
    *,
    split: str | None = None,
    ids: Sequence[str] = (),
    limit: int | None = None,
    explain: bool = False,
    thresholds: ThresholdMode | None = None,
    device: str = "auto",
    max_steps: MaxSteps | None = None,
    strict: bool = True,
) -> Predictions: ...


def predict(
    model: str | Path | Predictor,
    source: Any,
    *,
    split: str | None = None,
    ids: Sequence[str] = (),
    limit: int | None = None,
    explain: bool = False,
    thresholds: ThresholdMode | None = None,
    device: str = "auto",
    max_steps: MaxSteps | None = None,
    strict: bool = True,
) -> Prediction | Predictions:
    """Name the emotions of samples.

    Args:
        model: a run folder, a model folder, or a predictor that is loaded already.
        source: paths of data sets, files and folders; or a data set, a split, samples, or one
            sample. A sample may also be a dict, modality -> array of (steps, dim).
        split: the split of stored data sets: by default ``test`` where there is one, else all of
            them, as ``all`` says too.
        ids: the ids of the samples; empty for all.
        limit: the largest number of samples.
        explain: whether to measure the evidence for each emotion.
        thresholds: the thresholds for decisions; by default those tuned on validation data.
        device: the device to compute on.
        max_steps: cut longer sequences to their first steps; one number, or one for each modality.
        strict: raise the error of the first sample that cannot be predicted; else it is among the
            ``failures`` of the result. A single sample always raises.

    Returns:
        One prediction for one sample, else a list of them in the order of the samples.

    Raises:
        ModelError: there is no model, or the samples do not fit it.
        DataError: there is no such data set, split or sample.
    """
    predictor = model
    if not isinstance(predictor, Predictor):
        predictor = Predictor.load(predictor, device=device, thresholds=thresholds)
    if is_one(source):
        return predictor.predict(source, explain=explain, max_steps=max_steps)

    paths, samples = _paths_or_samples(source)
    if paths:
        opened = open_sources(paths, split=split, ids=ids, limit=limit, predictor=predictor)
        samples = opened.items
    else:
        if isinstance(samples, EmotionDataset | Split):
            predictor.check_fits(samples)
        samples = _chosen(samples, split=split, ids=ids, limit=limit)

    predictions = []
    failures = []
    for outcome in predictor.stream(samples, explain=explain, max_steps=max_steps):
        if isinstance(outcome, Prediction):
            predictions.append(outcome)
        elif strict:
            raise outcome.error
        else:
            failures.append(outcome)
    return Predictions(predictions, failures)


def _paths_or_samples(source: Any) -> tuple[list[Path], Any]:
    """Return paths, or else samples, whichever was given."""
    if isinstance(source, str | Path):
        return [Path(source)], ()
    if isinstance(source, EmotionDataset | Split) or not isinstance(source, Iterable):
        return [], source

    # a generator can be gone through only once
    rest = iter(source)
    first = list(islice(rest, 1))
    every = chain(first, rest)
    if first and isinstance(first[0], str | Path):
        return [Path(path) for path in every], ()

    # an array is iterable, and is refused as what it is
    is_block = hasattr(source, "shape") or isinstance(source, bytes)
    return [], source if is_block else every


def _chosen(samples: Any, *, split: str | None, ids: Sequence[str], limit: int | None) -> Any:
    """Return those of the samples in memory that are meant."""
    if isinstance(samples, EmotionDataset) and split not in (None, "all"):
        samples = samples[str(split)]
    if not ids and limit is None:
        return samples

    wanted = (sample for sample in samples_in(samples) if not ids or sample.id in ids)
    return islice(wanted, limit)
