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
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.training.inference import predict_probabilities
from emotailor.training.model_folder import LoadedModel, load_model
from emotailor.training.setup import choose_device

MAX_VARIANTS = 64
CHUNK = 512  # samples of a long list that are copied at once
ALIGNED = "one step per word in every modality: the model was trained on word-aligned data"
ALIGN = "align the data to words, or use a model trained on unaligned data"


@dataclass(frozen=True)
class Explanation:
    """What carried each label of one sample.

    Attributes:
        modalities: label -> modality -> drop of the label's logit without that modality.
        steps: label -> modality -> (steps,), drop of the logit without a few steps around each.
        attention: label -> block -> (steps,), attention of the label averaged over heads, where the
            model has it; over all blocks it sums to 1 (less where a model attends to padding too).
        window: modality -> how many steps were hidden at once.
    """

    modalities: dict[str, dict[Modality, float]]
    steps: dict[str, dict[Modality, Float64[np.ndarray, "_"]]]
    attention: dict[str, dict[str, Float64[np.ndarray, "_"]]]
    window: dict[Modality, int]

    def carrier(self, label: str) -> tuple[Modality, int, int]:
        """The modality with the most evidence for ``label``, and its first and last step, from 0.

        The steps are those around the strongest one with at least half its evidence.
        """
        evidence = self.modalities[label]
        modality = max(evidence, key=lambda m: evidence[m])
        drops = self.steps[label][modality]
        peak = int(drops.argmax())
        strong = drops >= drops[peak] / 2
        first = last = peak
        while first > 0 and strong[first - 1]:
            first -= 1
        while last + 1 < len(drops) and strong[last + 1]:
            last += 1
        return modality, first, last


@dataclass(frozen=True)
class Prediction:
    """The emotions of one sample.

    Attributes:
        id: of the sample.
        probabilities: label -> probability.
        decisions: label -> whether its probability is above its threshold.
        explanation: why, where asked for.
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
        if (why := self.explanation) is not None:
            value["explanation"] = {
                "window": dict(why.window),
                "modalities": why.modalities,
                "steps": {
                    name: {m: np.round(x, 5).tolist() for m, x in parts.items()}
                    for name, parts in why.steps.items()
                },
                "attention": {
                    name: {m: np.round(x, 6).tolist() for m, x in parts.items()}
                    for name, parts in why.attention.items()
                },
            }
        return value


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
        self.card, self.model, self.standardizer = loaded.card, loaded.model, loaded.standardizer
        self.dims = loaded.model.dims
        known = self.card.thresholds
        self.mode: ThresholdMode = thresholds or ("tuned" if "tuned" in known else "fixed")
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
            explain: also measure what carried each label; costs some passes a sample.

        Raises:
            DataError: a sample has the wrong dims, values that are not finite, or none of the
                model's modalities.
            ModelError: a sequence is longer than the model can take.
        """
        if isinstance(samples, Split):
            return self._predict_split(samples, explain=explain)
        listed, found = list(samples), []
        for start in range(0, len(listed), CHUNK):
            split = self._as_split(listed[start : start + CHUNK])
            found += self._predict_split(split, explain=explain)
        return found

    def _predict_split(self, split: Split, *, explain: bool) -> list[Prediction]:
        if not len(split):
            return []
        probabilities = self.predict_proba(split)
        decisions = decide(probabilities, self.thresholds)
        return [
            Prediction(
                split.ids[i],
                dict(zip(self.label_names, probabilities[i].astype(float).tolist(), strict=True)),
                dict(zip(self.label_names, decisions[i].astype(bool).tolist(), strict=True)),
                self.explain(split.sample(i)) if explain else None,
            )
            for i in range(len(split))
        ]

    @torch.inference_mode()
    def explain(self, sample: Sample) -> Explanation:
        """Measure which modality and which steps carried each label of one sample.

        Raises:
            DataError: the sample has none of the model's modalities.
        """
        batch = self._one(sample)
        lengths = {m: int(batch.masks[m].sum()) for m in self.modalities}
        present = [m for m in self.modalities if lengths[m]]
        window = {m: max(1, round(lengths[m] / 10)) for m in present}
        hidden: list[tuple[Modality, int, int]] = [(m, 0, lengths[m]) for m in present]
        for m in present:
            for center in range(lengths[m]):
                first = center - window[m] // 2
                hidden.append((m, max(first, 0), min(first + window[m], lengths[m])))
        seen, attention = self._full(batch)
        drops = seen - np.concatenate(list(self._without(batch, hidden)))
        modalities: dict[str, dict[Modality, float]] = {}
        steps: dict[str, dict[Modality, np.ndarray]] = {}
        for k, name in enumerate(self.label_names):
            modalities[name] = {m: float(drops[i, k]) for i, m in enumerate(present)}
            row = len(present)
            steps[name] = {}
            for m in present:
                steps[name][m] = drops[row : row + lengths[m], k]
                row += lengths[m]
        ends: dict[str, int] = {str(m): steps for m, steps in lengths.items()}
        shares: dict[str, dict[str, np.ndarray]] = {
            name: {block: x[k][: ends.get(block)] for block, x in attention.items()}
            for k, name in enumerate(self.label_names)
        }
        return Explanation(modalities, steps, shares, window)

    # ------------------------------------------------------------------ parts

    def _full(
        self, batch: Batch
    ) -> tuple[Float64[np.ndarray, "labels"], dict[str, Float64[np.ndarray, "labels _"]]]:
        output = self.model(batch, features=True)
        prefix = "attention."
        attention = {
            name.removeprefix(prefix): x[0].mean(0).double().cpu().numpy()
            for name, x in output.features.items()
            if name.startswith(prefix)
        }
        return output.logits[0].double().cpu().numpy(), attention

    def _without(
        self, batch: Batch, hidden: Sequence[tuple[Modality, int, int]]
    ) -> Iterator[Float64[np.ndarray, "variants labels"]]:
        """Logits of the sample with each (modality, first, end) hidden, in chunks."""
        for start in range(0, len(hidden), MAX_VARIANTS):
            chunk = hidden[start : start + MAX_VARIANTS]
            values = {m: x.repeat(len(chunk), 1, 1) for m, x in batch.values.items()}
            masks = {m: x.repeat(len(chunk), 1) for m, x in batch.masks.items()}
            for row, (m, first, end) in enumerate(chunk):
                values[m][row, first:end] = 0
                masks[m][row, first:end] = False
            ids = [batch.ids[0]] * len(chunk)
            yield self.model(Batch(values, masks, None, ids)).logits.double().cpu().numpy()

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
        # lengths are compared here: what to do about them is not what a data set's author is told
        checker = SampleChecker("samples", self.label_names, self.dims, aligned=False)
        ids, sequences = [], []
        for sample in samples:
            known = {m: x for m, x in sample.sequences.items() if m in self.dims}
            if not self.can_see(sample):
                raise DataError(
                    f"sample {sample.id!r} has {', '.join(sample.sequences) or 'no modality'}",
                    expected=f"at least one step of {' or '.join(self.dims)}, which the model "
                    "was trained on",
                    fix="leave it out, or use a model trained on what it has",
                )
            found = checker.check_sequences(f"sample {sample.id!r}", Sample(sample.id, known))
            if self.card.aligned and len({len(x) for x in found.values()}) > 1:
                steps = ", ".join(f"{m} {len(x)}" for m, x in found.items())
                raise DataError(
                    f"sample {sample.id!r} is unaligned: each modality has its own number of "
                    f"steps ({steps})",
                    expected=ALIGNED,
                    fix=ALIGN,
                )
            ids.append(sample.id)
            sequences.append(found)
        repairs = checker.repairs()
        if repairs:
            raise DataError(
                "; ".join(repairs).replace("replaced by 0: ", "in "),
                expected="finite feature values",
                fix="replace them before predicting, as `emotailor data convert` does",
            )
        ragged = {m: Ragged.pack([s.get(m) for s in sequences], d) for m, d in self.dims.items()}
        split = Split(
            "samples",
            ids,
            np.zeros((len(ids), len(self.label_names)), np.uint8),
            [Shard(ragged, len(ids))] if ids else [],
        )
        self._check_split(split)
        return split

    def _check_split(self, split: Split) -> None:
        missing = [m for m in self.dims if m not in split.modalities]
        widths: Mapping[Modality, int] = {
            m: split.shards[0].sequences[m].values.shape[1] for m in split.modalities
        }
        wrong = {m: widths[m] for m in self.dims if m in widths and widths[m] != self.dims[m]}
        if len(split) and (missing or wrong):
            found = [f"no {m}" for m in missing] + [f"{m} of width {d}" for m, d in wrong.items()]
            raise ModelError(
                f"split {split.name!r} has {', '.join(found)}",
                expected="the features the model was trained on: "
                + ", ".join(f"{m} of width {d}" for m, d in self.dims.items()),
                fix="extract the same features, or use a model trained on these",
            )
        if not len(split):
            return
        lengths = {m: split.lengths(m) for m in self.dims}
        longest = np.max(list(lengths.values()), axis=0)
        uneven = [m for m, x in lengths.items() if ((x > 0) & (x != longest)).any()]
        if self.card.aligned and uneven:
            raise ModelError(
                f"split {split.name!r} is not aligned: modalities of a sample differ in length",
                expected=ALIGNED,
                fix=ALIGN,
            )
        self.model.check_lengths(
            {m: int(x.max()) for m, x in lengths.items()}, aligned=self.card.aligned
        )
