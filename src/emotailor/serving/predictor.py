"""From samples to named emotions, with reasons.

A reason is measured, not read off attention: the evidence of a modality, or of a moment, for a
label is how much the label's logit drops when the model cannot see it. Every system can be asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from emotailor.data.batching import Batch, collate
from emotailor.data.card import FloatType
from emotailor.data.checker import SampleChecker
from emotailor.data.dataset import EmotionDataset, Shard, Split
from emotailor.data.extraction import check_extraction
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.metrics import decide
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.serving.prediction import Explanation, Prediction
from emotailor.training.inference import predict_probabilities
from emotailor.training.model_folder import LoadedModel, load_model
from emotailor.training.setup import choose_device

MAX_VARIANTS = 64  # variants of a sample in one forward pass
CHUNK = 512  # samples of a long list that are copied at once
ALIGNED = "one step per word in every modality: the model was trained on word-aligned data"
ALIGN = "align the data to words, or use a model trained on unaligned data"


@dataclass(frozen=True)
class _Hidden:
    """Steps of one modality that the model is not to see."""

    modality: Modality
    first: int
    end: int


def _hide(lengths: Mapping[Modality, int], window: Mapping[Modality, int]) -> list[_Hidden]:
    """Return what is hidden in turn: each whole modality, then a window around each step.

    Args:
        lengths: modality -> number of steps, for the modalities that the sample has.
        window: modality -> number of steps hidden at once.
    """
    whole = [_Hidden(m, 0, length) for m, length in lengths.items()]

    moments = []
    for m, length in lengths.items():
        width = window[m]
        for center in range(length):
            # the two ends of a sequence cut the window
            start = center - width // 2
            first = max(start, 0)
            end = min(start + width, length)
            moments.append(_Hidden(m, first, end))

    return whole + moments


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
        mode = thresholds or default
        if mode not in known:
            raise ConfigError(
                f"the model has no {mode!r} thresholds",
                expected=f"one of {', '.join(known)}",
            )

        self.mode: ThresholdMode = mode
        self.thresholds = known[mode].array(self.label_names)  # (L,)

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "auto", thresholds: ThresholdMode | None = None
    ) -> "Predictor":
        """Load a model from a run folder or a model folder.

        Raises:
            ModelError: there is none, or it is damaged.
            ConfigError: unknown device or thresholds.
        """
        place = choose_device(device)
        loaded = load_model(path, place)
        return cls(loaded, thresholds)

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

        finite = np.isfinite(probabilities).all(1)  # (n,)
        lost = np.flatnonzero(~finite)
        if len(lost):
            example = split.ids[lost[0]]
            raise ModelError(
                f"the model yields NaN for {len(lost)} samples, such as {example!r}",
                expected="finite probabilities",
                fix="its parameters are damaged, or features are absurdly large: look at both",
            )
        return probabilities

    def check_extraction(self, dataset: EmotionDataset) -> None:
        """Refuse a data set whose features were extracted in another way than the model's.

        Where the model or the data set does not say how, nothing is refused.

        Raises:
            ModelError: a modality was extracted in another way; the message says how.
        """
        card = dataset.card
        check_extraction(card.extraction, self.card.extraction, self.dims, card.name)

    def can_see(self, sample: Sample) -> bool:
        """Whether a sample has at least one of the model's modalities."""
        return any(_has_steps(sample, m) for m in self.dims)

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
            end = start + CHUNK
            split = self._as_split(listed[start:end])
            found += self._predict_split(split, explain=explain)
        return found

    def _predict_split(self, split: Split, *, explain: bool) -> list[Prediction]:
        if not len(split):
            return []

        probabilities = self.predict_proba(split)  # (n, L)
        decisions = decide(probabilities, self.thresholds)
        thresholds = dict(zip(self.label_names, self.thresholds.tolist(), strict=True))

        predictions = []
        for row, sample_id in enumerate(split.ids):
            own = probabilities[row].astype(float).tolist()
            decided = decisions[row].astype(bool).tolist()
            explanation = None
            if explain:
                explanation = self.explain(split.sample(row))

            prediction = Prediction(
                id=sample_id,
                probabilities=dict(zip(self.label_names, own, strict=True)),
                decisions=dict(zip(self.label_names, decided, strict=True)),
                explanation=explanation,
                thresholds=thresholds,
            )
            predictions.append(prediction)
        return predictions

    @torch.inference_mode()
    def explain(self, sample: Sample) -> Explanation:
        """Measure in which modality and at which steps the evidence for each label is.

        Raises:
            DataError: the sample has none of the model's modalities.
        """
        checked = self._as_split([sample]).sample(0)
        batch = self._one(checked)
        steps_of = {m: len(checked.sequences.get(m, ())) for m in self.modalities}
        lengths = {m: length for m, length in steps_of.items() if length > 0}
        window = {m: max(1, round(length / 10)) for m, length in lengths.items()}

        # how much each logit drops when something is hidden
        seen, attention = self._full(batch)  # (L,), block -> (L, steps)
        hidden = _hide(lengths, window)
        unseen = self._logits_without(batch, hidden)  # (hidden, L)
        drops = seen - unseen

        # in the order of `hidden`: a row per modality, then a row per step of each modality
        count = len(lengths)
        whole = dict(zip(lengths, drops[:count], strict=True))  # modality -> (L,)
        moments = _by_modality(drops[count:], lengths)  # modality -> (steps, L)

        # attention to a modality ends with its steps; other blocks are kept whole
        for m, length in steps_of.items():
            if m in attention:
                attention[m] = attention[m][:, :length]

        explanation = Explanation(
            modalities={},
            steps={},
            attention={},
            window=window,
            words=self._words_of(checked),
            times=dict(checked.times),
        )
        for k, name in enumerate(self.label_names):
            explanation.modalities[name] = {m: float(x[k]) for m, x in whole.items()}
            explanation.steps[name] = {m: x[:, k] for m, x in moments.items()}
            explanation.attention[name] = {block: x[k] for block, x in attention.items()}
        return explanation

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
        logits = output.logits[0]  # (L,)

        prefix = "attention."
        attention = {}
        for name, x in output.features.items():
            if name.startswith(prefix):
                block = name.removeprefix(prefix)
                mean = x[0].mean(0)  # over heads: (L, steps)
                attention[block] = _as_numpy(mean)

        return _as_numpy(logits), attention

    def _logits_without(
        self, batch: Batch, hidden: Sequence[_Hidden]
    ) -> Float64[np.ndarray, "hidden labels"]:
        """Return the logits of the sample with each of ``hidden`` unseen."""
        parts = []
        for start in range(0, len(hidden), MAX_VARIANTS):
            end = start + MAX_VARIANTS
            variants = _variants(batch, hidden[start:end])
            output = self.model(variants)
            logits = _as_numpy(output.logits)  # (variants, L)
            parts.append(logits)
        return np.concatenate(parts)

    def _one(self, sample: Sample) -> Batch:
        """Return a checked sample as a batch on the device of the model."""
        batch = collate(
            [sample],
            self.dims,
            aligned=self.card.aligned,
            standardize=self.standardizer,
        )
        return batch.to(self.model.device)

    def _words_of(self, sample: Sample) -> dict[Modality, list[str]]:
        """Return the word of each step of the modalities whose steps are words."""
        if sample.words is None:
            return {}

        words = list(sample.words)
        if self.card.aligned:
            return dict.fromkeys(sample.sequences, words)
        return {"text": words}

    def _as_split(self, samples: Iterable[Sample]) -> Split:
        """Return samples as a split, checked.

        Raises:
            DataError: a sample cannot be used.
            ModelError: a sequence is longer than the model can take.
        """
        # lengths are compared here: what to do about them is not what a data set's author is told;
        # samples of both types may come together
        wide: dict[Modality, FloatType] = dict.fromkeys(self.dims, "float32")
        checker = SampleChecker("samples", (), self.dims, self.card.aligned, wide)
        checked = [self._checked(sample, checker) for sample in samples]

        repairs = checker.repairs()
        if repairs:
            raise DataError(
                "; ".join(repairs).replace("replaced by 0: ", "in "),
                expected="finite feature values",
                fix="replace them before predicting, as `emotailor data convert` does",
            )

        # a split has labels, but these are unknown
        ids = [sample.id for sample in checked]
        labels = np.zeros((len(ids), len(self.label_names)), np.uint8)
        known = np.zeros(len(ids), np.bool_)
        shards = [Shard.pack(checked, checker)] if ids else []
        split = Split("samples", ids, labels, shards, known)
        self._check_split(split)
        return split

    def _checked(self, sample: Sample, checker: SampleChecker) -> Sample:
        """Return what the model takes of a sample.

        Raises:
            DataError: the sample has nothing of it, or the wrong shapes.
        """
        name = f"sample {sample.id!r}"
        if not self.can_see(sample):
            held = ", ".join(sample.sequences) or "no modality"
            wanted = " or ".join(self.dims)
            raise DataError(
                f"{name} has {held}",
                expected=f"at least one step of {wanted}, which the model was trained on",
                fix="leave it out, or use a model trained on what it has",
            )

        # other modalities may have any shape: the model does not look at them
        known = {m: x for m, x in sample.sequences.items() if m in self.dims}
        sequences, missing = checker.check_sequences(name, replace(sample, sequences=known))

        lengths = {m: len(x) for m, x in sequences.items()}
        distinct = set(lengths.values())
        if self.card.aligned and len(distinct) > 1:
            steps = ", ".join(f"{m} {length}" for m, length in lengths.items())
            raise DataError(
                f"{name} is unaligned: each modality has its own number of steps ({steps})",
                expected=ALIGNED,
                fix=ALIGN,
            )

        # words of a text that the model does not look at belong to none of its steps
        words = sample.words if self.card.aligned or "text" in sequences else None
        checked = Sample(sample.id, sequences, None, missing)
        return checker.with_attachments(name, checked, replace(sample, words=words))

    def _check_split(self, split: Split) -> None:
        """Refuse a split whose features do not fit the model.

        Raises:
            ModelError: wrong modalities, widths or lengths.
        """
        if not len(split):
            return
        self._check_widths(split)

        lengths = {m: split.lengths(m) for m in self.dims}  # each (n,)
        if self.card.aligned and _uneven(lengths):
            raise ModelError(
                f"split {split.name!r} is not aligned: modalities of a sample differ in length",
                expected=ALIGNED,
                fix=ALIGN,
            )

        longest = {m: int(x.max()) for m, x in lengths.items()}
        self.model.check_lengths(longest, aligned=self.card.aligned)

    def _check_widths(self, split: Split) -> None:
        """Refuse a split that lacks a modality of the model, or has it in another width.

        Raises:
            ModelError: a modality is not there, or has another width.
        """
        missing = [m for m in self.dims if m not in split.modalities]
        wrong = [f"no {m}" for m in missing]

        features = split.shards[0].sequences
        for m in split.modalities:
            width = features[m].values.shape[1]
            if m in self.dims and width != self.dims[m]:
                wrong.append(f"{m} of width {width}")

        if not wrong:
            return
        found = ", ".join(wrong)
        own = ", ".join(f"{m} of width {width}" for m, width in self.dims.items())
        raise ModelError(
            f"split {split.name!r} has {found}",
            expected=f"the features the model was trained on: {own}",
            fix="extract the same features, or use a model trained on these",
        )


def _as_numpy(x: Float[Tensor, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    array: Float64[np.ndarray, "*shape"] = x.double().cpu().numpy()
    return array


def _by_modality(
    rows: Float64[np.ndarray, "all_steps labels"], lengths: Mapping[Modality, int]
) -> dict[Modality, Float64[np.ndarray, "_ labels"]]:
    """Divide rows among modalities: first all steps of the first one, then those of the next."""
    parts = {}
    start = 0
    for m, length in lengths.items():
        end = start + length
        parts[m] = rows[start:end]
        start = end
    return parts


def _variants(batch: Batch, hidden: Sequence[_Hidden]) -> Batch:
    """Return copies of the one sample of ``batch``, each without one of ``hidden``."""
    count = len(hidden)
    values = {}
    masks = {}
    for m, x in batch.values.items():
        values[m] = x.repeat(count, 1, 1)  # (count, T, d)
        masks[m] = batch.masks[m].repeat(count, 1)  # (count, T)

    for row, span in enumerate(hidden):
        steps = slice(span.first, span.end)
        values[span.modality][row, steps] = 0
        masks[span.modality][row, steps] = False

    ids = [batch.ids[0]] * count
    return Batch(values, masks, None, ids)


def _has_steps(sample: Sample, modality: Modality) -> bool:
    """Whether a sample has a step of a modality that is not missing."""
    if not np.size(sample.sequences.get(modality, ())):
        return False
    return not np.all(sample.missing.get(modality, False))


def _uneven(lengths: Mapping[Modality, Int64[np.ndarray, "n"]]) -> bool:
    """Whether the modalities that a sample has differ in length, for any sample."""
    table = np.array(list(lengths.values()))  # (modalities, n)
    longest = table.max(0)
    missing = table == 0
    same = table == longest
    return bool((~missing & ~same).any())
