"""From samples to named emotions, with reasons.

A reason is measured, not read off attention: the evidence of a modality, or of a moment, for a
label is how much the label's logit drops when the model cannot see it. Every system can be asked.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64

from emotailor.data.batching import Batch, collate
from emotailor.data.checker import SampleChecker
from emotailor.data.dataset import Ragged, Shard, Split
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.metrics import decide
from emotailor.evaluation.notebook import data_frame, html_table
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.training.inference import predict_probabilities
from emotailor.training.model_folder import LoadedModel, load_model
from emotailor.training.setup import choose_device

MAX_VARIANTS = 64  # variants of a sample in one forward pass
CHUNK = 512  # samples of a long list that are copied at once
MIN_EVIDENCE = 0.005
"""Evidence below this is none: in two digits it is 0.00."""

ALIGNED = "one step per word in every modality: the model was trained on word-aligned data"
ALIGN = "align the data to words, or use a model trained on unaligned data"


@dataclass(frozen=True, repr=False)
class Explanation:
    """The evidence for each label of one sample.

    Attributes:
        modalities: label -> modality -> drop of the label's logit without that modality.
        steps: label -> modality -> (steps,), drop of the logit without a few steps around each.
        attention: label -> block -> (steps,), attention of the label averaged over heads, where the
            model has it; over all blocks it sums to 1 (less where a model attends to padding too).
        window: modality -> number of steps that were hidden at once.
    """

    modalities: dict[str, dict[Modality, float]]
    steps: dict[str, dict[Modality, Float64[np.ndarray, "_"]]]
    attention: dict[str, dict[str, Float64[np.ndarray, "_"]]]
    window: dict[Modality, int]

    def strongest(self, label: str) -> tuple[Modality, int, int]:
        """The modality with the most evidence for ``label``, and its first and last step, from 0.

        The steps are those around the strongest one with at least half its evidence.
        """
        evidence = self.modalities[label]
        modality = max(evidence, key=lambda m: evidence[m])
        drops = self.steps[label][modality]
        peak = int(drops.argmax())
        strong = drops >= drops[peak] / 2

        first = peak
        while first > 0 and strong[first - 1]:
            first -= 1
        last = peak
        while last + 1 < len(drops) and strong[last + 1]:
            last += 1
        return modality, first, last

    def describe(self, label: str) -> str:
        """Return where the most evidence for a label is, such as ``visual, steps 4-6``.

        Steps are counted from 1. Where no modality speaks for the label: ``-``.
        """
        modality, first, last = self.strongest(label)

        if self.modalities[label][modality] < MIN_EVIDENCE:
            return "-"
        if first == last:
            return f"{modality}, step {first + 1}"
        return f"{modality}, steps {first + 1}-{last + 1}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "window": dict(self.window),
            "modalities": self.modalities,
            "steps": _rounded(self.steps, digits=5),
            "attention": _rounded(self.attention, digits=6),
        }

    def __repr__(self) -> str:
        parts = [f"{label}: {self.describe(label)}" for label in self.modalities]
        return f"Explanation({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        header, rows = self._table()
        return html_table(("label", *header), [(label, *row) for label, row in rows.items()])

    def _table(self) -> tuple[list[str], dict[str, list[str]]]:
        """Return titles, and label -> cells: change without each modality, strongest evidence."""
        modalities = list(next(iter(self.modalities.values())))  # the same for all labels
        header = [f"no {m}" for m in modalities]
        header.append("evidence")

        rows = {}
        for label, evidence in self.modalities.items():
            cells = [signed_change(-evidence[m]) for m in modalities]
            cells.append(self.describe(label))
            rows[label] = cells
        return header, rows


def signed_change(change: float) -> str:
    """Return a change of log-odds in two digits, without a sign where it is nothing."""
    return f"{change:+.2f}" if abs(change) >= MIN_EVIDENCE else "0.00"


def _rounded(
    parts: Mapping[str, Mapping[Any, np.ndarray]], *, digits: int
) -> dict[str, dict[Any, list[float]]]:
    rounded = {}
    for label, arrays in parts.items():
        rounded[label] = {name: np.round(x, digits).tolist() for name, x in arrays.items()}
    return rounded


@dataclass(frozen=True, repr=False)
class Prediction:
    """The emotions of one sample.

    Attributes:
        id: id of the sample.
        probabilities: label -> probability.
        decisions: label -> whether its probability is above its threshold.
        explanation: evidence for the labels, where asked for.
    """

    id: str
    probabilities: dict[str, float]
    decisions: dict[str, bool]
    explanation: Explanation | None = None

    @property
    def labels(self) -> list[str]:
        """The labels predicted to hold, the most probable first."""
        held = [name for name, yes in self.decisions.items() if yes]
        return sorted(held, key=lambda name: -self.probabilities[name])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        value: dict[str, Any] = {
            "id": self.id,
            "labels": self.labels,
            "probabilities": self.probabilities,
            "decisions": self.decisions,
        }
        if self.explanation is not None:
            value["explanation"] = self.explanation.to_json()
        return value

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the prediction as text, for tables: titles, and a row per label.

        The most probable label comes first. With an explanation, each row also has the change of
        the label's log-odds without each modality, and where the most evidence is.
        """
        header = ["label", "p", "holds"]
        evidence: dict[str, list[str]] = {}
        if self.explanation is not None:
            titles, evidence = self.explanation._table()
            header += titles

        rows = []
        for name in sorted(self.probabilities, key=lambda name: -self.probabilities[name]):
            probability = f"{self.probabilities[name]:.3f}"
            holds = "yes" if self.decisions[name] else ""
            reasons = evidence.get(name, [])
            rows.append([name, probability, holds, *reasons])
        return header, rows

    def __repr__(self) -> str:
        held = [f"{name} {self.probabilities[name]:.3f}" for name in self.labels]
        return f"Prediction({self.id!r}: {', '.join(held) or 'none of the labels'})"

    def _repr_html_(self) -> str:
        header, rows = self.table()
        return html_table(header, rows, caption=self.id)


def predictions_to_dataframe(predictions: Sequence[Prediction]) -> Any:
    """Return predictions as a ``pandas.DataFrame``, a row per sample.

    The columns are those of the stored table: ``p:<label>`` for the probability of a label, and
    ``<label>`` for whether it is predicted.

    Raises:
        ConfigError: pandas is not installed.
    """
    rows = []
    for prediction in predictions:
        probabilities = {f"p:{name}": p for name, p in prediction.probabilities.items()}
        rows.append({"id": prediction.id, **probabilities, **prediction.decisions})
    return data_frame(rows, index="id")


@dataclass(frozen=True)
class _Hidden:
    """Steps of one modality that the model is not to see."""

    modality: Modality
    first: int
    end: int


def _hide(lengths: Mapping[Modality, int], window: Mapping[Modality, int]) -> list[_Hidden]:
    """Return what is hidden in turn: each whole modality, then a window around each step.

    Args:
        lengths: modality -> steps of the sample, of the modalities that it has.
        window: modality -> steps hidden at once.
    """
    hidden = [_Hidden(m, 0, length) for m, length in lengths.items()]
    for m, length in lengths.items():
        width = window[m]
        for center in range(length):
            first = center - width // 2
            end = first + width
            # at its ends, a sequence cuts the window
            hidden.append(_Hidden(m, max(first, 0), min(end, length)))
    return hidden


class Predictor:
    """A trained model, ready to name emotions.

    Args:
        loaded: model, card and standardisation.
        thresholds: which of the model's thresholds decide; by default the one tuned on validation
            data, or the fixed one where the model has none (an imported checkpoint).

    Raises:
        ConfigError: the model has no such thresholds.
    """

    def __init__(self, loaded: LoadedModel, thresholds: ThresholdMode | None = None) -> None:
        self.card = loaded.card
        self.model = loaded.model
        self.standardizer = loaded.standardizer
        self.dims = loaded.model.dims

        known = self.card.thresholds
        default: ThresholdMode = "tuned" if "tuned" in known else "fixed"
        self.mode: ThresholdMode = thresholds or default
        if self.mode not in known:
            raise ConfigError(
                f"the model has no {self.mode!r} thresholds", expected=f"one of {', '.join(known)}"
            )
        self.thresholds = known[self.mode].array(self.label_names)

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "auto", thresholds: ThresholdMode | None = None
    ) -> "Predictor":
        """Load a model from a run folder or a model folder.

        Raises:
            ModelError: there is none, or it is damaged.
            ConfigError: unknown device or thresholds.
        """
        return cls(load_model(path, choose_device(device)), thresholds)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of the model's outputs."""
        return self.card.label_names

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities the model takes, in the order v, a, t."""
        return tuple(m for m in MODALITIES if m in self.dims)

    def predict_proba(
        self, split: Split, *, batch_size: int = 64
    ) -> Float32[np.ndarray, "n labels"]:
        """Return the probability of every label for every sample, (n, L).

        A sample with none of the model's modalities gets what the model says without evidence.

        Raises:
            ModelError: the split's features do not fit the model, or the model yields NaN.
        """
        self._check_split(split)
        probabilities = predict_probabilities(
            self.model,
            split,
            self.dims,
            aligned=self.card.aligned,
            standardizer=self.standardizer,
            batch_size=batch_size,
        )

        lost = ~np.isfinite(probabilities).all(1)
        if lost.any():
            raise ModelError(
                f"the model yields NaN for {int(lost.sum())} samples, such as "
                f"{split.ids[int(lost.argmax())]!r}",
                expected="finite probabilities",
                fix="its parameters are damaged, or features are absurdly large: look at both",
            )
        return probabilities

    def can_see(self, sample: Sample) -> bool:
        """Whether a sample has at least one of the model's modalities."""
        return any(np.size(sample.sequences.get(m, ())) for m in self.dims)

    def predict(
        self, samples: Split | Iterable[Sample], *, explain: bool = False
    ) -> list[Prediction]:
        """Name the emotions of samples.

        Args:
            samples: a split of a data set, or samples of your own (their labels are not read).
            explain: also measure the evidence for each label; costs some passes a sample.

        Raises:
            DataError: a sample has the wrong dims, values that are not finite, or none of the
                model's modalities.
            ModelError: a sequence is longer than the model can take.
        """
        if isinstance(samples, Split):
            return self._predict_split(samples, explain=explain)

        listed = list(samples)
        found = []
        for start in range(0, len(listed), CHUNK):
            split = self._as_split(listed[start : start + CHUNK])
            found += self._predict_split(split, explain=explain)
        return found

    def _predict_split(self, split: Split, *, explain: bool) -> list[Prediction]:
        if not len(split):
            return []

        probabilities = self.predict_proba(split)
        decisions = decide(probabilities, self.thresholds)
        predictions = []
        for row, sample_id in enumerate(split.ids):
            own = probabilities[row].astype(float).tolist()
            decided = decisions[row].astype(bool).tolist()
            predictions.append(
                Prediction(
                    sample_id,
                    dict(zip(self.label_names, own, strict=True)),
                    dict(zip(self.label_names, decided, strict=True)),
                    self.explain(split.sample(row)) if explain else None,
                )
            )
        return predictions

    @torch.inference_mode()
    def explain(self, sample: Sample) -> Explanation:
        """Measure in which modality and at which steps the evidence for each label is.

        Raises:
            DataError: the sample has none of the model's modalities.
        """
        batch = self._one(sample)
        steps_of = {m: int(batch.masks[m].sum()) for m in self.modalities}
        lengths = {m: length for m, length in steps_of.items() if length}
        window = {m: max(1, round(length / 10)) for m, length in lengths.items()}

        seen, attention = self._full(batch)  # (L,), block -> (L, steps)
        hidden = _hide(lengths, window)
        unseen = np.concatenate(list(self._logits_without(batch, hidden)))
        drops = seen - unseen  # (len(hidden), L)

        # a row per modality comes first, then a row per step of each modality
        row = len(lengths)
        whole = dict(zip(lengths, drops[:row], strict=True))  # modality -> (L,)
        moments = {}  # modality -> (steps, L)
        for m, length in lengths.items():
            moments[m] = drops[row : row + length]
            row += length

        # attention to a modality ends with its steps; other blocks are kept whole
        ends: dict[str, int] = {str(m): length for m, length in steps_of.items()}
        modalities: dict[str, dict[Modality, float]] = {}
        steps: dict[str, dict[Modality, np.ndarray]] = {}
        shares: dict[str, dict[str, np.ndarray]] = {}
        for k, name in enumerate(self.label_names):
            modalities[name] = {m: float(drop[k]) for m, drop in whole.items()}
            steps[name] = {m: drop[:, k] for m, drop in moments.items()}
            shares[name] = {block: x[k][: ends.get(block)] for block, x in attention.items()}
        return Explanation(modalities, steps, shares, window)

    def __repr__(self) -> str:
        labels = f"{len(self.label_names)} labels"
        takes = ", ".join(self.modalities)
        return f"Predictor({self.card.system}: {takes} -> {labels}, thresholds {self.mode})"

    # ------------------------------------------------------------------ parts

    def _full(
        self, batch: Batch
    ) -> tuple[Float64[np.ndarray, "labels"], dict[str, Float64[np.ndarray, "labels _"]]]:
        """Return the logits of the whole sample, and the labels' attention to each block."""
        output = self.model(batch, features=True)
        prefix = "attention."
        attention = {}
        for name, x in output.features.items():
            if name.startswith(prefix):
                mean = x[0].mean(0)  # over heads: (L, steps)
                attention[name.removeprefix(prefix)] = mean.double().cpu().numpy()
        return output.logits[0].double().cpu().numpy(), attention

    def _logits_without(
        self, batch: Batch, hidden: Sequence[_Hidden]
    ) -> Iterator[Float64[np.ndarray, "variants labels"]]:
        """Yield the logits of the sample with each of ``hidden`` unseen, some at a time."""
        for start in range(0, len(hidden), MAX_VARIANTS):
            chunk = hidden[start : start + MAX_VARIANTS]
            count = len(chunk)

            # one copy of the sample for each: values (count, T, d), masks (count, T)
            values = {m: x.repeat(count, 1, 1) for m, x in batch.values.items()}
            masks = {m: x.repeat(count, 1) for m, x in batch.masks.items()}
            for row, span in enumerate(chunk):
                steps = slice(span.first, span.end)
                values[span.modality][row, steps] = 0
                masks[span.modality][row, steps] = False

            ids = [batch.ids[0]] * count
            variants = Batch(values, masks, None, ids)
            logits = self.model(variants).logits
            yield logits.double().cpu().numpy()

    def _one(self, sample: Sample) -> Batch:
        split = self._as_split([sample])
        batch = collate(
            [Sample(sample.id, split.sample(0).sequences)],
            self.dims,
            aligned=self.card.aligned,
            standardize=self.standardizer,
        )
        return batch.to(self.model.device)

    def _as_split(self, samples: Iterable[Sample]) -> Split:
        """Return samples as a split, checked.

        Raises:
            DataError: a sample cannot be used.
            ModelError: a sequence is longer than the model can take.
        """
        # lengths are compared here: what to do about them is not what a data set's author is told
        checker = SampleChecker("samples", self.label_names, self.dims, aligned=False)
        ids = []
        sequences = []
        for sample in samples:
            ids.append(sample.id)
            sequences.append(self._checked(sample, checker))

        repairs = checker.repairs()
        if repairs:
            raise DataError(
                "; ".join(repairs).replace("replaced by 0: ", "in "),
                expected="finite feature values",
                fix="replace them before predicting, as `emotailor data convert` does",
            )

        packed = {}
        for m, width in self.dims.items():
            packed[m] = Ragged.pack([parts.get(m) for parts in sequences], width)
        labels = np.zeros((len(ids), len(self.label_names)), np.uint8)  # nobody reads them
        shards = [Shard(packed, len(ids))] if ids else []
        split = Split("samples", ids, labels, shards)
        self._check_split(split)
        return split

    def _checked(self, sample: Sample, checker: SampleChecker) -> dict[Modality, np.ndarray]:
        """Return what the model takes of a sample.

        Raises:
            DataError: the sample has nothing of it, or the wrong shapes.
        """
        if not self.can_see(sample):
            raise DataError(
                f"sample {sample.id!r} has {', '.join(sample.sequences) or 'no modality'}",
                expected=f"at least one step of {' or '.join(self.dims)}, which the model "
                "was trained on",
                fix="leave it out, or use a model trained on what it has",
            )

        known = {m: x for m, x in sample.sequences.items() if m in self.dims}
        found = checker.check_sequences(f"sample {sample.id!r}", Sample(sample.id, known))
        lengths = {m: len(x) for m, x in found.items()}
        if self.card.aligned and len(set(lengths.values())) > 1:
            steps = ", ".join(f"{m} {length}" for m, length in lengths.items())
            raise DataError(
                f"sample {sample.id!r} is unaligned: each modality has its own number of "
                f"steps ({steps})",
                expected=ALIGNED,
                fix=ALIGN,
            )
        return found

    def _check_split(self, split: Split) -> None:
        """Refuse a split whose features do not fit the model.

        Raises:
            ModelError: wrong modalities, widths or lengths.
        """
        if not len(split):
            return
        self._check_widths(split)

        lengths = {m: split.lengths(m) for m in self.dims}
        longest = np.max(list(lengths.values()), axis=0)  # of each sample
        uneven = [m for m, x in lengths.items() if ((x > 0) & (x != longest)).any()]
        if self.card.aligned and uneven:
            raise ModelError(
                f"split {split.name!r} is not aligned: modalities of a sample differ in length",
                expected=ALIGNED,
                fix=ALIGN,
            )
        longest_of = {m: int(x.max()) for m, x in lengths.items()}
        self.model.check_lengths(longest_of, aligned=self.card.aligned)

    def _check_widths(self, split: Split) -> None:
        found = [f"no {m}" for m in self.dims if m not in split.modalities]
        for m in split.modalities:
            width = split.shards[0].sequences[m].values.shape[1]
            if m in self.dims and width != self.dims[m]:
                found.append(f"{m} of width {width}")
        if found:
            own = ", ".join(f"{m} of width {width}" for m, width in self.dims.items())
            raise ModelError(
                f"split {split.name!r} has {', '.join(found)}",
                expected=f"the features the model was trained on: {own}",
                fix="extract the same features, or use a model trained on these",
            )
