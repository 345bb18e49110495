"""From samples to named emotions, with reasons.

A reason is measured, not read off attention: the evidence of a modality, or of a moment, for a
label is how much the label's logit drops when the model cannot see it. Every system can be asked.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from emotailor.data.batching import Batch, collate
from emotailor.data.card import FloatType
from emotailor.data.checker import SampleChecker
from emotailor.data.cutting import MaxSteps, first_steps, limits_of
from emotailor.data.dataset import EmotionDataset, Shard, Split
from emotailor.data.extraction import check_extraction
from emotailor.data.readers.array_files import SUFFIXES
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import ConfigError, DataError, EmotailorError, ModelError, TooLongError
from emotailor.evaluation.metrics import decide
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.export.onnx_file import is_onnx
from emotailor.export.onnx_model import check_device, load_onnx
from emotailor.models.adapters.model import TextAdapted
from emotailor.serving.given import is_one, samples_in, source_of
from emotailor.serving.prediction import Explanation, Failure, Prediction, Predictions
from emotailor.shipped.find import meant_by
from emotailor.training.inference import predict_probabilities
from emotailor.training.model_folder import LoadedModel, load_model
from emotailor.training.setup import choose_device

PredictorT = TypeVar("PredictorT", bound="SamplePredictor")

Explain = bool | Literal["held"]
"""Whether evidence is measured: of no sample, of all, or of those for which a label holds."""

MAX_VARIANTS = 64  # variants of a sample in one forward pass
FIRST_CHUNK = 32  # samples after which there is something to show
CHUNK = 512  # samples of a long list that are held at once
CHUNK_NUMBERS = 2**24  # their values at most, 64 MiB
ALIGNED = "one step per word in every modality: the model was trained on word-aligned data"
ALIGN = (
    "align it to words (`emotailor data convert SOURCE --out DATA --align`), "
    "or use a model trained on unaligned data"
)


def _hide(length: int, window: int | None) -> list[slice]:
    """Return what is hidden of a modality in turn: all of it, then a window around each step.

    Args:
        length: number of its steps.
        window: number of steps hidden at once; None where single steps are not looked at.
    """
    hidden = [slice(0, length)]
    if window is None:
        return hidden

    for center in range(length):
        # the two ends of a sequence cut the window
        start = center - window // 2
        first = max(start, 0)
        end = min(start + window, length)
        hidden.append(slice(first, end))
    return hidden


class SamplePredictor:
    """A trained model, ready to name the emotions of samples.

    Args:
        loaded: model, card and standardisation.
        thresholds: which of the model's thresholds decide; by default those that it names, else the
            one tuned on validation data, or the fixed one where it has none (an imported
            checkpoint).

    Raises:
        ConfigError: the model has no such thresholds.
    """

    def __init__(self, loaded: LoadedModel, thresholds: ThresholdMode | None = None) -> None:
        self.card = loaded.card
        self.model = loaded.model
        self.standardizer = loaded.standardizer
        self.dims = loaded.model.dims

        known = self.card.thresholds
        mode = thresholds or self.card.default_thresholds
        if mode not in known:
            raise ConfigError(
                f"the model has no {mode!r} thresholds",
                expected=f"one of {', '.join(known)}",
                fix="choose one of these, or train the model again: thresholds of every kind are "
                "chosen then, on validation data",
            )

        self.mode: ThresholdMode = mode
        self.thresholds = known[mode].array(self.label_names)  # (L,)
        scaled = self.card.scaled
        self.scaling = None if scaled is None else scaled.scaling
        if isinstance(self.model, TextAdapted) and not self.model.training:
            self.model.settle()

    @classmethod
    def load(
        cls: type[PredictorT],
        path: str | Path | None = None,
        *,
        device: str = "auto",
        thresholds: ThresholdMode | None = None,
    ) -> PredictorT:
        """Load a model from a run folder or a model folder, or one that comes with the package.

        An ONNX file of `emotailor export` is as good; ONNX Runtime computes it, on the CPU.

        Args:
            path: the folder, the ONNX file, or the name ``words``; where something lies at that
                path, that is meant. None: the model ``words``.
            device: to compute on.
            thresholds: as for the class.

        Raises:
            ModelError: there is none, or it is damaged.
            ConfigError: unknown device or thresholds.
        """
        if path is not None and is_onnx(path):
            check_device(device)
            return cls(load_onnx(path), thresholds)
        place = choose_device(device)
        loaded = load_model(meant_by(path), place)
        return cls(loaded, thresholds)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of the model's outputs."""
        return self.card.label_names

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities the model takes, in the order v, a, t."""
        return tuple(m for m in MODALITIES if m in self.dims)

    @overload
    def predict_proba(
        self, samples: EmotionDataset | Split, *, batch_size: int = 64
    ) -> Float[np.ndarray, "n labels"]: ...

    @overload
    def predict_proba(
        self, samples: Sample | Mapping[str, Any], *, batch_size: int = 64
    ) -> Float[np.ndarray, "labels"]: ...

    @overload
    def predict_proba(
        self, samples: Iterable[Sample | Mapping[str, Any]], *, batch_size: int = 64
    ) -> Float[np.ndarray, "n labels"]: ...

    def predict_proba(
        self, samples: Any, *, batch_size: int = 64
    ) -> Float[np.ndarray, "*n labels"]:
        """Return the probability of every label for every sample, (n, L); of one sample, (L,).

        A sample of a split with none of the model's modalities gets what the model says without
        evidence.

        Args:
            samples: as for :meth:`predict`; of a data set, all splits one after the other.
            batch_size: samples in one forward pass.

        Raises:
            DataError: a sample cannot be used, or there is something else in its place.
            ModelError: the features do not fit the model, or the model yields NaN.
        """
        if isinstance(samples, Split):
            return self._finite(samples, self._probabilities(samples, batch_size))

        parts = [np.zeros((0, len(self.label_names)), np.float32)]
        if isinstance(samples, EmotionDataset):
            self.check_extraction(samples)
            splits = samples.splits.values()
            parts += [self.predict_proba(split, batch_size=batch_size) for split in splits]
            return np.concatenate(parts)

        for chunk in _chunks(samples_in(samples)):
            split = self._as_split(_unfailed(chunk))
            parts.append(self._finite(split, self._probabilities(split, batch_size)))
        found = np.concatenate(parts)
        return found[0] if is_one(samples) else found

    def _probabilities(self, split: Split, batch_size: int = 64) -> Float[np.ndarray, "n labels"]:
        """Return the probability of every label for every sample, (n, L); it may be NaN."""
        self._check_split(split)
        found = predict_probabilities(
            self.model,
            split,
            self.dims,
            aligned=self.card.aligned,
            standardizer=self.standardizer,
            batch_size=batch_size,
        )
        if self.scaling is None:
            return found
        return self.scaling.apply(found, self.label_names)

    def _finite(
        self, split: Split, probabilities: Float[np.ndarray, "n labels"]
    ) -> Float[np.ndarray, "n labels"]:
        """Return the probabilities of a split, which must be finite.

        Raises:
            ModelError: some are not.
        """
        finite = np.isfinite(probabilities).all(1)  # (n,)
        lost = np.flatnonzero(~finite)
        if len(lost):
            example = split.ids[lost[0]]
            raise _yields_nan(f"{len(lost)} samples, such as {example!r}")
        return probabilities

    def check_extraction(self, dataset: EmotionDataset) -> None:
        """Refuse a data set whose features were extracted in another way than the model's.

        Where the model or the data set does not say how, nothing is refused.

        Raises:
            ModelError: a modality was extracted in another way; the message says how.
        """
        card = dataset.card
        check_extraction(card.extraction, self.card.extraction, self.dims, card.name)

    def check_fits(self, data: EmotionDataset | Split) -> None:
        """Refuse data whose features are not those that the model was trained on.

        Raises:
            ModelError: a modality is not there, has another width, was extracted in another way, or
                is not aligned as the model needs it.
        """
        splits: Iterable[Split] = [data] if isinstance(data, Split) else data.splits.values()
        if isinstance(data, EmotionDataset):
            self.check_extraction(data)
        for split in splits:
            if len(split):
                self._check_widths(split)
                self._check_aligned(split)

    def can_see(self, sample: Sample) -> bool:
        """Whether a sample has at least one of the model's modalities."""
        return any(_has_steps(sample, m) for m in self.dims)

    @overload
    def predict(
        self,
        samples: EmotionDataset | Split,
        *,
        explain: bool = False,
        max_steps: MaxSteps | None = None,
    ) -> Predictions: ...

    @overload
    def predict(
        self,
        samples: Sample | Mapping[str, Any],
        *,
        explain: bool = False,
        max_steps: MaxSteps | None = None,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        samples: Iterable[Sample | Mapping[str, Any]],
        *,
        explain: bool = False,
        max_steps: MaxSteps | None = None,
    ) -> Predictions: ...

    def predict(
        self, samples: Any, *, explain: bool = False, max_steps: MaxSteps | None = None
    ) -> Prediction | Predictions:
        """Name the emotions of samples.

        Args:
            samples: one sample; or several, a split or a data set. Labels are not read. A sample
                may also be a dict, modality -> array of (steps, dim).
            explain: also measure the evidence for each label; costs some passes a sample.
            max_steps: cut longer sequences to their first steps; one number, or one for each
                modality. A prediction says how many were cut.

        Returns:
            One prediction for one sample, else a list of them in the order of the samples.

        Raises:
            DataError: a sample has the wrong dims, values that are not finite, or none of the
                model's modalities, or there is something else in its place.
            ModelError: a sequence is longer than the model can take, or the model yields NaN.
        """
        if isinstance(samples, EmotionDataset | Split):
            self.check_fits(samples)

        found = Predictions()
        for outcome in self.stream(samples, explain=explain, max_steps=max_steps):
            if isinstance(outcome, Failure):
                raise outcome.error
            found.append(outcome)
        return found[0] if is_one(samples) else found

    def stream(
        self,
        samples: Any,
        *,
        explain: Explain = False,
        steps_of: Sequence[Modality] | None = None,
        max_steps: MaxSteps | None = None,
    ) -> Iterator[Prediction | Failure]:
        """Yield the prediction of each sample, in order, without keeping any.

        Some hundred samples are held at a time, however many there are. One that cannot be
        predicted becomes a failure, and the others are not lost.

        Args:
            samples: as for :meth:`predict`; failures that a reader has met come out again in their
                places.
            explain: as for :meth:`predict`; with ``held`` where a label holds alone.
            steps_of: as for :meth:`explain`.
            max_steps: as for :meth:`predict`.

        Raises:
            DataError: there is something else in the place of a sample.
            ConfigError: ``max_steps`` makes no sense.
        """
        limits: dict[Modality, int] = {}
        if max_steps is not None:
            limits = limits_of(max_steps, aligned=self.card.aligned)

        for chunk in _chunks(samples_in(samples)):
            for outcome, sample in self._predict_chunk(chunk, limits):
                if not _is_explained(outcome, explain):
                    yield outcome
                    continue
                assert isinstance(outcome, Prediction) and sample is not None
                yield replace(outcome, explanation=self.explain(sample, steps_of=steps_of))

    def _predict_chunk(
        self, chunk: Sequence[Sample | Failure], limits: Mapping[Modality, int]
    ) -> Iterator[tuple[Prediction | Failure, Sample | None]]:
        """Yield the prediction of each sample with what the model saw of it.

        What cannot be predicted keeps its place.
        """
        admitted: list[Sample] = []
        cut_off: list[dict[Modality, int]] = []
        failures: dict[int, Failure] = {}  # place in the chunk -> why there is no prediction
        for place, item in enumerate(chunk):
            if isinstance(item, Failure):
                failures[place] = item
                continue
            try:
                cut, unseen = first_steps(item, limits, aligned=self.card.aligned)
                checked = self._admitted(cut)
            except EmotailorError as error:
                failures[place] = Failure(item.id, error, source_of(item))
                continue
            admitted.append(checked)
            cut_off.append(unseen)

        outcomes = self._predict_split(self._pack(admitted))
        predicted = zip(outcomes, cut_off, strict=True)
        for place in range(len(chunk)):
            if place in failures:
                yield failures[place], None
                continue
            (outcome, sample), unseen = next(predicted)
            if isinstance(outcome, Prediction) and unseen:
                outcome = replace(outcome, unseen=unseen)
            yield outcome, sample

    def _predict_split(self, split: Split) -> Iterator[tuple[Prediction | Failure, Sample]]:
        """Yield the prediction of every sample of a checked split, or that it is NaN."""
        if not len(split):
            return

        probabilities = self._probabilities(split)  # (n, L)
        finite = np.isfinite(probabilities).all(1)  # (n,)
        known = np.where(finite[:, None], probabilities, 0)
        decisions = decide(known, self.thresholds)
        thresholds = dict(zip(self.label_names, self.thresholds.tolist(), strict=True))

        for row, sample in enumerate(split):
            source = source_of(sample)
            if not finite[row]:
                error = _yields_nan(f"sample {sample.id!r}")
                yield Failure(sample.id, error, source), sample
                continue

            own = probabilities[row].astype(float).tolist()
            decided = decisions[row].astype(bool).tolist()
            found = Prediction(
                id=sample.id,
                probabilities=dict(zip(self.label_names, own, strict=True)),
                decisions=dict(zip(self.label_names, decided, strict=True)),
                thresholds=thresholds,
                source=source,
            )
            yield found, sample

    @torch.inference_mode()
    def explain(self, sample: Sample, *, steps_of: Sequence[Modality] | None = None) -> Explanation:
        """Measure in which modality and at which steps the evidence for each label is.

        Args:
            sample: one sample.
            steps_of: the modalities whose single steps are looked at; None for all. Each step costs
                a pass, so a modality that nobody will look into need not be among them.

        Raises:
            DataError: the sample has none of the model's modalities.
        """
        checked = self._as_split([sample]).sample(0)
        batch = self._one(checked)
        steps = {m: len(checked.sequences.get(m, ())) for m in self.modalities}
        lengths = {m: length for m, length in steps.items() if length > 0}
        looked_into = lengths
        if steps_of is not None:
            looked_into = {m: length for m, length in lengths.items() if m in steps_of}
        window = {m: max(1, round(length / 10)) for m, length in looked_into.items()}

        # how much each logit drops when something is hidden
        seen, attention = self._full(batch)  # (L,), block -> (L, steps)
        whole: dict[Modality, np.ndarray] = {}  # (L,)
        moments: dict[Modality, np.ndarray] = {}  # (steps, L)
        for m, length in lengths.items():
            hidden = _hide(length, window.get(m))
            drops = seen - self._logits_without(batch, m, hidden)  # (hidden, L)
            if self.scaling is not None:
                drops = drops * self.scaling.slope_array(self.label_names)

            # the first row is without all of the modality
            whole[m] = drops[0]
            if m in window:
                moments[m] = drops[1:]

        # attention to a modality ends with its steps; other blocks are kept whole
        for m, length in steps.items():
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
        self, batch: Batch, modality: Modality, hidden: Sequence[slice]
    ) -> Float64[np.ndarray, "hidden labels"]:
        """Return the logits of the sample with each of some stretches of a modality unseen."""
        parts = []
        for start in range(0, len(hidden), MAX_VARIANTS):
            end = start + MAX_VARIANTS
            variants = _variants(batch, modality, hidden[start:end])
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
        return self._pack([self._admitted(sample) for sample in samples])

    def _pack(self, checked: Sequence[Sample]) -> Split:
        """Return checked samples as a split."""
        # a split has labels, but these are unknown
        ids = [sample.id for sample in checked]
        labels = np.zeros((len(ids), len(self.label_names)), np.uint8)
        known = np.zeros(len(ids), np.bool_)
        shards = [Shard.pack(checked, self._checker())] if ids else []
        return Split("samples", ids, labels, shards, known)

    def _checker(self) -> SampleChecker:
        # lengths are compared here: what to do about them is not what a data set's author is told;
        # samples of both types may come together
        wide: dict[Modality, FloatType] = dict.fromkeys(self.dims, "float32")
        return SampleChecker("samples", (), self.dims, self.card.aligned, wide)

    def _admitted(self, sample: Sample) -> Sample:
        """Return what the model takes of a sample, all of it in order.

        Raises:
            DataError: the sample has nothing of it, the wrong shapes, or values that are not
                finite.
            ModelError: a sequence is longer than the model can take.
        """
        checker = self._checker()
        checked = self._checked(sample, checker)

        repairs = checker.repairs()
        if repairs:
            found = "; ".join(repairs).replace(" in 1 samples replaced by 0: ", " in ")
            raise DataError(
                f"sample {sample.id!r}: {found}",
                expected="finite feature values",
                fix="replace them before predicting, as `emotailor data convert` does",
            )

        lengths = {m: len(x) for m, x in checked.sequences.items()}
        try:
            self.model.check_lengths(lengths, aligned=self.card.aligned)
        except TooLongError as error:
            fix = f"{self._how_to_cut(lengths)}; or {error.fix}"
            if _is_whole_file(sample):
                # its rows may be samples: nothing in such a file says so but ids
                fix += "; or, if each row is a sample, give the file an array id with their names"
            raise TooLongError(
                f"sample {sample.id!r} has {error.found}",
                most=error.most,
                expected=str(error.expected),
                fix=fix,
            ) from error
        return checked

    def _how_to_cut(self, lengths: Mapping[Modality, int]) -> str:
        """Say which option cuts sequences of these lengths to what the model can take."""
        most = {}
        for m, steps in lengths.items():
            try:
                self.model.check_lengths({m: steps}, aligned=True)  # a modality alone always is
            except TooLongError as error:
                most[m] = error.most

        if self.card.aligned:
            shortest = min(most.values())
            return f"cut it to its first steps: predict with --max-steps {shortest}"
        each = ",".join(f"{m}={steps}" for m, steps in most.items())
        return f"cut it to its first steps: predict with --max-steps {each}"

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
        self._check_aligned(split)

        longest = {m: int(split.lengths(m).max()) for m in self.dims}
        self.model.check_lengths(longest, aligned=self.card.aligned)

    def _check_aligned(self, split: Split) -> None:
        """Refuse a split that is not aligned where the model needs it.

        Raises:
            ModelError: the modalities of a sample differ in length.
        """
        lengths = {m: split.lengths(m) for m in self.dims}  # each (n,)
        if self.card.aligned and _uneven(lengths):
            raise ModelError(
                f"split {split.name!r} is not aligned: modalities of a sample differ in length",
                expected=ALIGNED,
                fix=ALIGN,
            )

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


def _chunks(items: Iterable[Sample | Failure]) -> Iterator[list[Sample | Failure]]:
    """Yield a few hundred samples at a time: fewer where they are large, and at the beginning."""
    most = FIRST_CHUNK
    chunk: list[Sample | Failure] = []
    numbers = 0
    for item in items:
        chunk.append(item)
        if isinstance(item, Sample):
            numbers += sum(np.size(x) for x in item.sequences.values())
        if len(chunk) >= most or numbers >= CHUNK_NUMBERS:
            yield chunk
            most = min(2 * most, CHUNK)
            chunk = []
            numbers = 0
    if chunk:
        yield chunk


def _unfailed(chunk: Iterable[Sample | Failure]) -> Iterator[Sample]:
    """Yield samples; the error of the first failure is raised."""
    for item in chunk:
        if isinstance(item, Failure):
            raise item.error
        yield item


def _is_explained(outcome: Prediction | Failure, explain: Explain) -> bool:
    """Whether evidence is measured for a sample."""
    if isinstance(outcome, Failure) or explain == "held":
        return isinstance(outcome, Prediction) and bool(outcome.labels)
    return explain


def _yields_nan(what: str) -> ModelError:
    return ModelError(
        f"the model yields NaN for {what}",
        expected="finite probabilities",
        fix="its parameters are damaged, or features are absurdly large: look at both",
    )


def _as_numpy(x: Float[Tensor, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    array: Float64[np.ndarray, "*shape"] = x.double().cpu().numpy()
    return array


def _variants(batch: Batch, modality: Modality, hidden: Sequence[slice]) -> Batch:
    """Return copies of the one sample of ``batch``, each without a stretch of a modality.

    The others are the same in all copies, so that models need not compute them for each.
    """
    count = len(hidden)
    values = {}
    masks = {}
    for m, x in batch.values.items():
        values[m] = x.repeat(count, 1, 1)  # (count, T, d)
        masks[m] = batch.masks[m].repeat(count, 1)  # (count, T)

    for row, steps in enumerate(hidden):
        values[modality][row, steps] = 0
        masks[modality][row, steps] = False

    ids = [batch.ids[0]] * count
    words = None if batch.words is None else [batch.words[0]] * count
    shared = frozenset(values) - {modality}
    return Batch(values, masks, None, ids, words, shared)


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


def _is_whole_file(sample: Sample) -> bool:
    """Whether a sample is all that is in a file of arrays, which gave it its name."""
    file = Path(source_of(sample))
    return file.suffix.lower() in SUFFIXES and file.stem == Path(sample.id).name
