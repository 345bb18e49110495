"""The emotions of one sample, the evidence for them, and why a sample has none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, SupportsIndex, overload

import numpy as np
from jaxtyping import Float64

from emotailor.data.sample import Modality
from emotailor.errors import EmotailorError
from emotailor.evaluation.notebook import html_table
from emotailor.frames import data_frame

MOST_SAID = 40  # characters of what is said at the strongest steps
MIN_EVIDENCE = 0.005
"""Evidence below this is none: in two digits it is 0.00."""
MOST_DIGITS = 7
"""Digits that a probability has at most: float32 holds no more."""
MOST_SHOWN = 20
"""Predictions that a notebook shows of a long list."""


@dataclass(frozen=True, repr=False)
class Explanation:
    """The evidence for each label of one sample.

    Attributes:
        modalities: label -> modality -> drop of the label's logit without that modality.
        steps: label -> modality -> (steps,), drop of the logit without a few steps around each; for
            the modalities of which this was asked.
        attention: label -> block -> (steps,), attention of the label averaged over heads, where the
            model has it; over all blocks it sums to 1 (less where a model attends to padding too).
        window: modality -> number of steps that were hidden at once.
        words: modality -> the word of each step, where the sample has words.
        times: modality -> (steps, 2), start and end of each step in seconds, where it has them.
    """

    modalities: dict[str, dict[Modality, float]]
    steps: dict[str, dict[Modality, Float64[np.ndarray, "_"]]]
    attention: dict[str, dict[str, Float64[np.ndarray, "_"]]]
    window: dict[Modality, int]
    words: dict[Modality, list[str]] = field(default_factory=dict)
    times: dict[Modality, Float64[np.ndarray, "_ 2"]] = field(default_factory=dict)

    def strongest(self, label: str) -> tuple[Modality, int, int]:
        """Return the modality with the most evidence for ``label``, and its first and last step.

        The steps are counted from 0. They are those around the strongest step that have at least
        half of its evidence. Modalities whose steps were not looked at do not come into question.
        """
        evidence = self.modalities[label]
        looked_at = self.steps[label]
        modality = max(looked_at, key=lambda m: evidence[m])
        first, last = self.peak(label, modality)
        return modality, first, last

    def peak(self, label: str, modality: Modality) -> tuple[int, int]:
        """Return the first and the last step around the strongest that have half of its evidence.

        Args:
            label: for which there is evidence.
            modality: whose steps are meant.
        """
        drops = self.steps[label][modality]  # (steps,)
        peak = int(drops.argmax())
        half = drops[peak] / 2
        strong = drops >= half

        # as far to both sides as the evidence is strong
        first = peak
        while first > 0 and strong[first - 1]:
            first -= 1
        last = peak
        while last + 1 < len(drops) and strong[last + 1]:
            last += 1
        return first, last

    def describe(self, label: str) -> str:
        """Return where the most evidence for a label is, such as ``text, "so great"``.

        Where no modality speaks for the label: ``-``.
        """
        evidence = self.modalities[label]
        modality = max(evidence, key=lambda m: evidence[m])
        if evidence[modality] < MIN_EVIDENCE:
            return "-"
        if modality not in self.steps[label]:
            return modality

        first, last = self.peak(label, modality)
        return f"{modality}, {self.where(modality, first, last)}"

    def where(self, modality: Modality, first: int, last: int) -> str:
        """Return which steps these are: what is said at them, or their numbers from 1.

        Words that are said more than once are told apart by their numbers, or by times where the
        sample has them: ``"so great" (1.2-1.9 s)``, ``"the" (word 7)``, ``steps 4-6``.

        Args:
            modality: whose steps are meant.
            first: the first step, from 0.
            last: the last one.
        """
        numbers = f"{first + 1}" if first == last else f"{first + 1}-{last + 1}"
        unit = "" if first == last else "s"
        said = self.said(modality, first, last)
        if not self._spoken(modality, first, last):
            return f"step{unit} {numbers} {said}".rstrip()

        if modality in self.times or self._times_said(modality, first, last) == 1:
            return said
        return f"{said} (word{unit} {numbers})"

    def said(self, modality: Modality, first: int, last: int) -> str:
        """Return what is said at some steps and when, such as ``"so great" (1.2-1.9 s)``.

        Args:
            modality: whose steps are meant.
            first: the first step, from 0.
            last: the last one.
        """
        parts = []
        spoken = self._spoken(modality, first, last)
        if len(spoken) > MOST_SAID:
            spoken = f"{spoken[: MOST_SAID - 1]}…"
        if spoken:
            parts.append(f'"{spoken}"')

        times = self.times.get(modality)
        if times is not None:
            start = times[first, 0]
            end = times[last, 1]
            parts.append(f"({start:.1f}-{end:.1f} s)")
        return " ".join(parts)

    def _spoken(self, modality: Modality, first: int, last: int) -> str:
        """Return the words of some steps; nothing where they are unknown or blank."""
        words = self.words.get(modality, [])
        return " ".join(words[first : last + 1]).strip()

    def _times_said(self, modality: Modality, first: int, last: int) -> int:
        """Return how often the words of some steps are said in the whole sample."""
        words = self.words[modality]
        phrase = words[first : last + 1]
        length = len(phrase)
        starts = range(len(words) - length + 1)
        return sum(words[start : start + length] == phrase for start in starts)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        value: dict[str, Any] = {
            "window": dict(self.window),
            "modalities": self.modalities,
            "steps": _rounded(self.steps, digits=5),
            "attention": _rounded(self.attention, digits=6),
        }
        if self.words:
            value["words"] = self.words
        if self.times:
            value["times"] = {m: np.round(x, 3).tolist() for m, x in self.times.items()}
        return value

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Explanation":
        """Return what :meth:`to_json` told of."""
        times = {m: np.array(x, np.float64) for m, x in values.get("times", {}).items()}
        return cls(
            modalities=values["modalities"],
            steps=_arrays(values["steps"]),
            attention=_arrays(values["attention"]),
            window=values["window"],
            words=values.get("words", {}),
            times=times,
        )

    def __repr__(self) -> str:
        parts = [f"{label}: {self.describe(label)}" for label in self.modalities]
        return f"Explanation({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        titles, cells = self._table()
        header = ("label", *titles)
        rows = [(label, *row) for label, row in cells.items()]
        return html_table(header, rows)

    def _table(self) -> tuple[list[str], dict[str, list[str]]]:
        """Return titles, and label -> cells: change without each modality, strongest evidence."""
        first_label = next(iter(self.modalities))
        modalities = list(self.modalities[first_label])  # the same for all labels
        header = [f"no {m}" for m in modalities]
        header.append("evidence")

        rows = {}
        for label, evidence in self.modalities.items():
            # a modality that speaks for the label: without it, the log-odds fall
            cells = [signed_change(-evidence[m]) for m in modalities]
            cells.append(self.describe(label))
            rows[label] = cells
        return header, rows


def signed_change(change: float) -> str:
    """Return a change of log-odds in two digits, without a sign where it is nothing."""
    if abs(change) < MIN_EVIDENCE:
        return "0.00"
    return f"{change:+.2f}"


def _rounded(
    parts: Mapping[str, Mapping[Any, np.ndarray]], *, digits: int
) -> dict[str, dict[Any, list[float]]]:
    rounded = {}
    for label, arrays in parts.items():
        rounded[label] = {name: np.round(x, digits).tolist() for name, x in arrays.items()}
    return rounded


def _arrays(parts: Mapping[str, Mapping[Any, list[float]]]) -> dict[str, dict[Any, np.ndarray]]:
    arrays = {}
    for label, lists in parts.items():
        arrays[label] = {name: np.array(x, np.float64) for name, x in lists.items()}
    return arrays


@dataclass(frozen=True, repr=False)
class Prediction:
    """The emotions of one sample.

    Attributes:
        id: id of the sample.
        probabilities: label -> probability.
        decisions: label -> whether its probability is above its threshold.
        explanation: evidence for the labels, where asked for.
        thresholds: label -> the threshold that decided.
        source: where the sample is from, such as a path; empty where nobody said.
        unseen: modality -> number of steps at the end that were cut off before.
    """

    id: str
    probabilities: dict[str, float]
    decisions: dict[str, bool]
    explanation: Explanation | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    source: str = ""
    unseen: dict[Modality, int] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The labels predicted to hold, the most probable first."""
        held = [name for name, yes in self.decisions.items() if yes]
        return sorted(held, key=lambda name: -self.probabilities[name])

    def decided_by(self, thresholds: Mapping[str, float]) -> "Prediction":
        """Return the same probabilities with decisions by other thresholds.

        Args:
            thresholds: label -> threshold; a label that is not named keeps its own.
        """
        known = {**self.thresholds, **thresholds}
        decisions = {name: p > known[name] for name, p in self.probabilities.items()}
        return replace(self, decisions=decisions, thresholds=known)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        value: dict[str, Any] = {"id": self.id}
        if self.source:
            value["source"] = self.source
        value |= {
            "labels": self.labels,
            "probabilities": self.probabilities,
            "decisions": self.decisions,
            "thresholds": self.thresholds,
        }
        if self.unseen:
            value["unseen_steps"] = self.unseen
        if self.explanation is not None:
            value["explanation"] = self.explanation.to_json()
        return value

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Prediction":
        """Return what :meth:`to_json` told of."""
        told = values.get("explanation")
        return cls(
            id=values["id"],
            probabilities=values["probabilities"],
            decisions=values["decisions"],
            explanation=None if told is None else Explanation.from_json(told),
            thresholds=values["thresholds"],
            source=values.get("source", ""),
            unseen=values.get("unseen_steps", {}),
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the prediction as text, for tables: titles, and a row per label.

        The most probable label comes first. Each probability stands beside its threshold. With an
        explanation, each row also has the change of the label's log-odds without each modality,
        and where the most evidence is.
        """
        header = ["label", "p > threshold" if self.thresholds else "p"]
        evidence: dict[str, list[str]] = {}
        if self.explanation is not None:
            titles, evidence = self.explanation._table()
            header += titles

        # of equally probable labels, the model's first comes first
        pairs = sorted(self.probabilities.items(), key=lambda pair: -pair[1])
        rows = []
        for name, p in pairs:
            decided = compare(p, self.thresholds.get(name))
            if self.decisions[name]:
                decided += " yes"
            reasons = evidence.get(name, [])
            row = [name, decided, *reasons]
            rows.append(row)
        return header, rows

    def __repr__(self) -> str:
        held = [f"{name} {self.probabilities[name]:.3f}" for name in self.labels]
        shown = ", ".join(held) or "none of the labels"
        return f"Prediction({self.id!r}: {shown})"

    def _repr_html_(self) -> str:
        header, rows = self.table()
        return html_table(header, rows, caption=self.id)

    def _row(self) -> dict[str, Any]:
        """Return column -> value, as in the table of an evaluation: first all probabilities."""
        row: dict[str, Any] = {"id": self.id}
        if self.source:
            row["source"] = self.source
        for name, p in self.probabilities.items():
            row[f"p:{name}"] = p
        row |= self.decisions
        for name, threshold in self.thresholds.items():
            row[f"threshold:{name}"] = threshold
        return row


def compare(p: float, threshold: float | None) -> str:
    """Return a probability beside its threshold, such as ``0.126 > 0.118``.

    Both have three digits, or as many more as it takes to see which is larger.
    """
    if threshold is None:
        return f"{p:.3f}"
    if p == threshold:
        return f"{p:.3f} = {threshold:.3f}"

    sign = ">" if p > threshold else "<"
    digits = 3
    while digits < MOST_DIGITS and f"{p:.{digits}f}" == f"{threshold:.{digits}f}":
        digits += 1
    return f"{p:.{digits}f} {sign} {threshold:.{digits}f}"


@dataclass(frozen=True)
class Failure:
    """A sample that could not be predicted.

    Attributes:
        id: id of the sample, or the name of the file that holds none.
        error: what is wrong with it, and what to do.
        source: where it is from, such as a path; empty where nobody said.
    """

    id: str
    error: EmotailorError
    source: str = ""

    @property
    def reason(self) -> str:
        """What was found and what was expected, in one line."""
        if self.error.expected is None:
            return self.error.found
        return f"{self.error.found}; expected {self.error.expected}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        value = {"id": self.id, "error": self.reason}
        if self.source:
            value["source"] = self.source
        return value


class Predictions(list[Prediction]):
    """Predictions in the order of their samples: a list that shows itself as one table.

    Args:
        predictions: one for each sample.
        failures: the samples that could not be predicted, where these do not stop the others.
    """

    def __init__(
        self, predictions: Iterable[Prediction] = (), failures: Iterable[Failure] = ()
    ) -> None:
        super().__init__(predictions)
        self.failures = list(failures)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice, /) -> "Predictions": ...

    def __getitem__(self, index: SupportsIndex | slice, /) -> "Prediction | Predictions":
        found = super().__getitem__(index)
        return Predictions(found) if isinstance(found, list) else found

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row per sample.

        The columns are those of the stored table: ``p:<label>`` for the probability of a label,
        ``<label>`` for whether it is predicted, ``threshold:<label>`` for what decided.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = [prediction._row() for prediction in self]
        return data_frame(rows, index="id")

    def __repr__(self) -> str:
        shown = [repr(prediction) for prediction in self[:MOST_SHOWN]]
        rest = len(self) - len(shown)
        if rest:
            shown.append(f"... {rest} more")
        lines = "".join(f"\n  {line}" for line in shown)
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"Predictions of {len(self)} samples{failed}{lines}"

    def _repr_html_(self) -> str:
        if not self:
            return html_table((), [("no samples",)])

        names = list(self[0].probabilities)
        rows = []
        for prediction in self[:MOST_SHOWN]:
            decided = {name: cell for name, cell, *_ in prediction.table()[1]}
            cells = [decided[name] for name in names]
            rows.append((prediction.id, *cells))

        rest = len(self) - len(rows)
        if rest:
            rows.append((f"... {rest} more", *([""] * len(names))))
        return html_table(("id", *names), rows)
