"""What there is to know of a model that ships, as data, and what it must reach to ship at all.

``card.json`` lies in the model folder, beside ``model.json``. ``scripts/ship.py`` writes it.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotailor.config import first_problem
from emotailor.errors import ModelError
from emotailor.evaluation.comparison import Interval, PairedDifference
from emotailor.evaluation.scaling import ScalingMethod
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.files import write_json
from emotailor.shipped.find import WORDS, shipped_folder
from emotailor.verified import read_json

CARD_FILE = "card.json"

COMPARED = ("micro_f1", "mean_average_precision", "mean_roc_auc")
"""What the model must not be worse in than a linear model."""

CHANCE = 0.5
"""The AUC of label frequencies, which say the same of every text."""

MOST_NAMED = 2.0
"""How many times as often as it holds a label may be named at most, and at least its inverse."""

ALWAYS = 0.95
"""Share of the texts from which on a label counts as named always."""

MOST_LOST = 0.03
"""The largest loss, of micro-F1 and of mAP, through 15 % of wrong words."""

FIX = "install emotailor again: a file of it was altered"


class _Part(BaseModel):
    """Base of the card and its parts: unknown keys are errors, and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LabelScores(_Part):
    """How the model does on one label of the test split.

    Attributes:
        held: share of the samples that have it.
        named: share for which the model names it, by its default thresholds.
        precision: share of the named that have it.
        recall: share of those that have it that are named.
        average_precision: with its interval.
        roc_auc: with its interval.
    """

    held: float
    named: float
    precision: float
    recall: float
    average_precision: Interval
    roc_auc: Interval


class Beside(_Part):
    """Another system on the same samples.

    Attributes:
        name: of the system.
        thresholds: how those of both were chosen, on validation data.
        scores: metric -> its value.
        differences: metric -> the model's value minus its.
    """

    name: str
    thresholds: ThresholdMode
    scores: dict[str, float]
    differences: dict[str, PairedDifference]


class Damaged(_Part):
    """The test split with words that are wrong.

    Attributes:
        name: what was done.
        scores: metric -> its value and interval.
        differences: metric -> what it is less or more than on the words as they are.
    """

    name: str
    scores: dict[str, Interval]
    differences: dict[str, PairedDifference]


class OtherText(_Part):
    """Texts of another source, of which the model has seen none.

    Attributes:
        name: of the source.
        kind: what its texts are.
        samples: number of texts.
        scores: mean average precision and AUC, with intervals.
        frequencies: mean average precision of label frequencies.
        roc_auc: label -> AUC and interval.
    """

    name: str
    kind: str
    samples: int
    scores: dict[str, Interval]
    frequencies: float
    roc_auc: dict[str, Interval]


class ThresholdTrial(_Part):
    """What one kind of thresholds does on the validation split.

    Attributes:
        micro_f1: of all labels.
        macro_f1: mean over labels.
        hamming_loss: share of wrong decisions.
        named: label -> share of the samples for which it is named.
    """

    micro_f1: float
    macro_f1: float
    hamming_loss: float
    named: dict[str, float]


class CalibrationNote(_Part):
    """How the probabilities were scaled, on validation data.

    Attributes:
        method: that was chosen.
        tried: method, or ``none`` -> expected calibration error on validation samples of videos
            that it was not fitted on.
        test_before: expected calibration error on the test split without scaling.
        test_after: with it.
    """

    method: ScalingMethod
    tried: dict[str, float]
    test_before: float
    test_after: float


class ShippedCard(_Part):
    """Everything there is to know of a model that ships.

    Attributes:
        format: says what the file is.
        name: of the model.
        reads: what it takes as evidence, and what it does not.
        system: name of the system.
        recipe: file of its settings.
        command: that made it.
        seed: of its training, fixed before anything was looked at.
        data: name and fingerprint of its data set.
        samples: split -> number of samples.
        weights_sha256: of the file of its parameters.
        weights_bytes: size of that file.
        thresholds: the kind that decides by default.
        thresholds_tried: kind -> what it does on validation data.
        scores: metric -> value and interval on the test split, by the default thresholds.
        labels: label -> scores on the test split.
        calibration: of its probabilities.
        beside: the systems that it is compared with.
        damaged: what wrong words do.
        other_texts: other sources.
        not_for: what it must not be used for.
        licences: what -> its licence.
    """

    format: Literal["emotailor-shipped"] = "emotailor-shipped"
    name: str
    reads: str
    system: str
    recipe: str
    command: str
    seed: int
    data: dict[str, str]
    samples: dict[str, int]
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    weights_bytes: int
    thresholds: ThresholdMode
    thresholds_tried: dict[ThresholdMode, ThresholdTrial]
    scores: dict[str, Interval]
    labels: dict[str, LabelScores]
    calibration: CalibrationNote
    beside: list[Beside]
    damaged: list[Damaged]
    other_texts: list[OtherText]
    not_for: list[str]
    licences: dict[str, str]

    def missed(self) -> list[str]:
        """Return a line for each bar that the model misses; a model that misses one does not ship.

        The bars: level with every linear model beside it; the AUC of each label surely above
        chance; no label named always, never, or far from as often as it holds; little lost through
        wrong words; better than label frequencies on other texts.
        """
        return [
            *self._below_others(),
            *self._weak_labels(),
            *self._lost(),
            *self._no_better_elsewhere(),
        ]

    def _below_others(self) -> list[str]:
        found = []
        for other in self.beside:
            for metric in COMPARED:
                gained = other.differences[metric].value
                if gained < 0:
                    found.append(f"{metric} is {-gained:.3f} below {other.name}")
        return found

    def _weak_labels(self) -> list[str]:
        found = []
        for name, label in self.labels.items():
            if label.roc_auc.low <= CHANCE:
                found.append(f"the AUC of {name} is {label.roc_auc}: it may be chance")

            # a label that is never named is named too rarely
            often = label.named / label.held
            too_often = often > MOST_NAMED or label.named >= ALWAYS
            too_rarely = often < 1 / MOST_NAMED
            if too_often or too_rarely:
                found.append(
                    f"{name} is named for {label.named:.0%} and holds for {label.held:.0%}"
                )
        return found

    def _lost(self) -> list[str]:
        found = []
        for damaged in self.damaged:
            for metric in ("micro_f1", "mean_average_precision"):
                lost = -damaged.differences[metric].value
                if lost > MOST_LOST:
                    found.append(f"{damaged.name}: {metric} loses {lost:.3f}")
        return found

    def _no_better_elsewhere(self) -> list[str]:
        found = []
        for other in self.other_texts:
            area = other.scores["mean_roc_auc"]
            precision = other.scores["mean_average_precision"]
            if area.low <= CHANCE:
                found.append(f"{other.name}: the mean AUC is {area}")
            if precision.low <= other.frequencies:
                found.append(
                    f"{other.name}: mAP is {precision}, label frequencies have "
                    f"{other.frequencies:.3f}"
                )
        return found


def write_card(folder: Path, card: ShippedCard) -> None:
    """Write the card of a model into its folder."""
    write_json(folder / CARD_FILE, card.model_dump(mode="json"))


def read_card(name: str = WORDS) -> ShippedCard:
    """Return the card of a model that ships.

    Raises:
        ConfigError: none of that name ships.
        ModelError: its file is missing or was altered.
    """
    file = shipped_folder(name) / CARD_FILE
    # it has had a hash from the first version on
    values = read_json(file, error=ModelError, hashed_since=1, fix=FIX)
    try:
        return ShippedCard.model_validate(values)
    except ValidationError as error:
        raise ModelError(f"{file} is damaged: {first_problem(error)}", fix=FIX) from error
