"""Scaling of a trained model's probabilities, stored with the model.

The scaling is fitted on the validation split. The thresholds are scaled too, so that every decision
stays as it is; what changes is what the probabilities say. ``none`` undoes it.
"""

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.errors import DataError
from emotailor.evaluation.calibration import Calibration, calibration
from emotailor.evaluation.metrics import decide
from emotailor.evaluation.notebook import format_number
from emotailor.evaluation.scaling import Scaling, ScalingMethod, cross_scaled
from emotailor.evaluation.thresholds import ThresholdMode, Thresholds
from emotailor.folders import held
from emotailor.runs.baselines import config_of
from emotailor.runs.data import matching_labels, trained_on
from emotailor.serving.predictor import Predictor
from emotailor.training.model_folder import (
    ModelCard,
    Scaled,
    find_model_folder,
    load_model,
    read_model_card,
    save_card,
)
from emotailor.training.setup import choose_device

Method = Literal["temperature", "platt", "none"]
ThresholdsByMode = dict[ThresholdMode, Thresholds]


@dataclass(frozen=True)
class Effect:
    """What scaling does to one split.

    Attributes:
        before: calibration without scaling.
        after: calibration with it; on the validation split each sample is scaled by what was fitted
            on other videos.
        changed: number of decisions, under any kind of threshold, that differ.
    """

    before: Calibration
    after: Calibration
    changed: int


@dataclass(frozen=True, repr=False)
class CalibrationResult:
    """What was changed in a model.

    Attributes:
        run: run or model folder.
        scaling: how probabilities are scaled now; None where they are those of the network.
        fitted_on: name of the validation split and its number of samples; empty with ``none``.
        effects: split -> what scaling does to it; empty with ``none``.
    """

    run: Path
    scaling: Scaling | None
    fitted_on: str
    effects: dict[str, Effect]

    @property
    def helps(self) -> bool:
        """Whether the Brier score falls on validation samples that were not fitted on."""
        if not self.effects:
            return False
        valid = next(iter(self.effects.values()))
        return valid.after.brier_score < valid.before.brier_score

    def lines(self) -> list[str]:
        """Return what to print, a line each."""
        if self.scaling is None:
            return [f"{self.run}: probabilities and thresholds are those of the training"]

        lines = [f"{self.run}: {self.scaling}, fitted on {self.fitted_on}"]
        for name, effect in self.effects.items():
            lines.append(_line(name, effect))

        changed = sum(effect.changed for effect in self.effects.values())
        kept = f"{changed} decisions change" if changed else "no decision changes"
        lines.append(f"{kept}: the thresholds are scaled too; undo with --method none")
        if not self.helps:
            lines.append("note: samples that were not fitted on are not told better than before")
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return "<br>".join(escape(line) for line in self.lines())


def _line(name: str, effect: Effect) -> str:
    before = effect.before
    after = effect.after
    errors = [
        ("calibration error", before.expected_calibration_error, after.expected_calibration_error),
        ("equal mass", before.equal_mass_error, after.equal_mass_error),
        ("Brier score", before.brier_score, after.brier_score),
    ]
    parts = []
    for title, old, new in errors:
        parts.append(f"{title} {format_number(old)} -> {format_number(new)}")
    return f"  {name}: {', '.join(parts)}"


def calibrate_run(
    run: str | Path,
    *,
    method: Method = "temperature",
    data: str | Path | None = None,
    test: str = "test",
    device: str = "auto",
) -> CalibrationResult:
    """Scale the probabilities of a trained model, and store how with it.

    Decisions stay as they are. A model that was scaled before is scaled anew, not twice.

    Args:
        run: run folder or model folder.
        method: ``temperature``, ``platt``, or ``none`` to undo what was done.
        data: stored data set; by default the one the run was trained on.
        test: name of a split to measure the effect on, too; left out where it has no labels.
        device: device for the model.

    Raises:
        ModelError: there is no model, or the data do not fit it.
        DataError: there is no such data set, it has other labels, or nothing to fit on.
        ConfigError: another process works in the folder.
    """
    place = Path(run)
    folder = find_model_folder(place)
    with held(place):
        plain = _without_scaling(read_model_card(folder))
        if method == "none":
            save_card(folder, plain)
            return CalibrationResult(place, None, "", {})

        path = trained_on(place) if data is None else Path(data)
        dataset = open_dataset(path)
        config = config_of(place)
        valid = "valid" if config is None else config.data.valid_split

        loaded = load_model(folder, choose_device(device))
        predictor = Predictor(replace(loaded, card=plain))
        predictor.check_extraction(dataset)
        card, effects = _scaled(predictor, dataset.with_labels(), method, (valid, test))
        save_card(folder, card)

    assert card.scaled is not None
    fitted_on = f"{card.scaled.data['samples']} samples of {valid}"
    return CalibrationResult(place, card.scaled.scaling, fitted_on, effects)


def _without_scaling(card: ModelCard) -> ModelCard:
    thresholds = card.unscaled_thresholds
    return card.model_copy(update={"scaled": None, "thresholds": thresholds})


def _scaled(
    predictor: Predictor,
    dataset: EmotionDataset,
    method: ScalingMethod,
    splits: tuple[str, str],
) -> tuple[ModelCard, dict[str, Effect]]:
    """Fit a scaling on the first split; return the new card, and what it does to both.

    Raises:
        DataError: the first split has no samples with labels.
        ModelError: the data do not fit the model.
    """
    valid, test = splits
    if not len(dataset[valid]):
        raise DataError(
            f"split {valid!r} of {dataset.card.name} has no samples with labels",
            expected="validation samples to fit the scaling on",
        )

    names = predictor.label_names
    labels, probabilities = _judged(predictor, dataset, valid)
    scaling = Scaling.fit(method, labels, probabilities, names)
    card = predictor.card
    moved = {mode: scaling.of_thresholds(old) for mode, old in card.thresholds.items()}

    # fitted and measured on the same samples, any scaling looks good
    videos = np.array(dataset.videos(valid))
    others = cross_scaled(method, labels, probabilities, names, groups=videos)
    fitted = scaling.apply(probabilities, names)
    effects = {
        f"{valid} (fitted on other videos)": Effect(
            before=calibration(labels, probabilities, names),
            after=calibration(labels, others, names),
            changed=_changed(probabilities, fitted, card.thresholds, moved),
        )
    }
    if test in dataset.splits and len(dataset[test]):
        labels, probabilities = _judged(predictor, dataset, test)
        scaled = scaling.apply(probabilities, names)
        effects[test] = Effect(
            before=calibration(labels, probabilities, names),
            after=calibration(labels, scaled, names),
            changed=_changed(probabilities, scaled, card.thresholds, moved),
        )

    source = {
        "name": dataset.card.name,
        "fingerprint": dataset.card.fingerprint,
        "split": valid,
        "samples": len(dataset[valid]),
    }
    record = Scaled(scaling=scaling, thresholds=card.thresholds, data=source)
    return card.model_copy(update={"thresholds": moved, "scaled": record}), effects


def _judged(
    predictor: Predictor, dataset: EmotionDataset, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities of a split, both (n, L)."""
    part = dataset[split]
    labels = matching_labels(dataset, part, predictor.label_names)
    return labels, predictor.predict_proba(part)


def _changed(
    before: np.ndarray, after: np.ndarray, old: ThresholdsByMode, new: ThresholdsByMode
) -> int:
    """Count the decisions that differ, under any kind of threshold."""
    changed = 0
    for mode, thresholds in old.items():
        names = list(thresholds.values)
        decided = decide(before, thresholds.array(names))
        again = decide(after, new[mode].array(names))
        changed += int((decided != again).sum())
    return changed


def render_calibration(result: CalibrationResult) -> RenderableType:
    """Return what was changed, as lines for the terminal."""
    lines = [Text(line) for line in result.lines()]
    return Group(*lines)
