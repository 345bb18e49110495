"""Synthetic data with planted truth: the built-in default data set, and a test of what models find.

- Label sets and lengths are drawn from the frequencies of CMU-MOSEI's 22,860 segments
  (``mosei_statistics.json``: the counts of all 64 label sets give every marginal and every
  co-occurrence exactly).
- Each label shows itself in some modalities only (:data:`CARRIERS`), and there only in a short
  window of the utterance. Where the label does not hold, the same window holds noise.
- Besides, every step carries factors that all modalities of the utterance share and factors
  private to one modality; neither depends on the labels. A random linear map mixes factors,
  evidence and noise into features of the paper's widths, so no single feature is a label.
- Unaligned, visual and audio run at about 8 and 9 steps a word, and each modality lags behind by
  its own delay; aligned, one step is one word.

Every sample has its own random stream: sample i of a split is the same however many are drawn.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from pydantic import Field

from emotailor.config import Config
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import EMOTIONS, MODALITIES, Modality, Sample
from emotailor.errors import DataError

CARRIERS: dict[str, tuple[Modality, ...]] = {
    "angry": ("visual", "audio"),
    "disgust": ("visual",),
    "fear": ("text",),
    "happy": ("visual", "text"),
    "sad": ("audio", "text"),
    "surprise": ("audio",),
}
"""Which modalities carry evidence of which label: three labels each, and no label in all three."""

SHARED_FACTORS = 4
PRIVATE_FACTORS = 4
SENSOR_NOISE = 0.2  # noise of a feature, as a share of the noise of an evidence factor
STEPS_PER_WORD: dict[Modality, float] = {"visual": 8.0, "audio": 9.0, "text": 1.0}
MAX_STEPS: dict[Modality, int] = {"visual": 500, "audio": 500, "text": 50}
MAX_DELAY: dict[Modality, float] = {"visual": 0.5, "audio": 1.0, "text": 2.0}  # in words
TRUTH = "truth"

_STATISTICS = Path(__file__).with_name("mosei_statistics.json")
_CARRIED: Bool[np.ndarray, "labels modalities"] = np.array(
    [[m in CARRIERS[label] for m in MODALITIES] for label in EMOTIONS]
)
_SPLITS = ("train", "valid", "test")
_WORLD, _PLAN, _FEATURES = 1, 2, 3  # random streams that never meet


class SyntheticConfig(Config):
    """What to draw; the defaults are learnable but hard, and train in minutes on a CPU."""

    train: int = Field(1600, ge=1, le=10**6, description="Samples for training.")
    valid: int = Field(200, ge=0, le=10**6, description="Samples for validation; 0: no such split.")
    test: int = Field(400, ge=0, le=10**6, description="Samples for testing; 0: no such split.")
    aligned: bool = Field(True, description="One step a word, or each modality at its own rate.")
    noise: float = Field(
        0.7,
        ge=0,
        le=100,
        description="Standard deviation of the noise over one word; the evidence itself is 1.",
    )
    window: float = Field(
        0.2, gt=0, le=1, description="Share of the utterance in which a label shows itself."
    )
    missing: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Probability that a modality is missing; every sample keeps at least one.",
    )
    visual_dim: int = Field(35, ge=1, le=10**5, description="Width of the visual features.")
    audio_dim: int = Field(74, ge=1, le=10**5, description="Width of the audio features.")
    text_dim: int = Field(300, ge=1, le=10**5, description="Width of the text features.")
    seed: int = Field(0, ge=0, lt=2**32, description="The same seed draws the same data.")

    @property
    def dims(self) -> dict[Modality, int]:
        """Feature width per modality."""
        return {"visual": self.visual_dim, "audio": self.audio_dim, "text": self.text_dim}

    @property
    def sizes(self) -> dict[str, int]:
        """Samples per split; splits of no samples are left out."""
        return {split: getattr(self, split) for split in _SPLITS if getattr(self, split)}


@dataclass(frozen=True)
class MoseiStatistics:
    """Frequencies fitted to CMU-MOSEI by ``scripts/fit_mosei_statistics.py``.

    Attributes:
        label_sets: probability of each label set; set s has label i of ``EMOTIONS`` where bit i
            of s is 1.
        words: probability of an utterance of 1, 2, ... 60 words.
    """

    label_sets: Float64[np.ndarray, "64"]
    words: Float64[np.ndarray, "60"]

    @property
    def cooccurrence(self) -> Float64[np.ndarray, "6 6"]:
        """Probability that two labels hold together; the diagonal holds the label frequencies."""
        codes = np.arange(len(self.label_sets))
        members = _members(codes).astype(np.float64)  # (label sets, labels)
        weighted = members.T * self.label_sets
        return weighted @ members


@dataclass(frozen=True)
class PlantedTruth:
    """Where the evidence of each label lies and how to read it; a model is never given this.

    Attributes:
        carriers: whether a modality (in the order of ``MODALITIES``) carries a label (in the
            order of ``EMOTIONS``).
        readout: per modality, the projection of its features onto the evidence of each label;
            zero for labels it does not carry.
        windows: per split, first step and one past the last of the window of each sample, label
            and modality; (-1, -1) where the modality does not carry the label or is missing. A
            label that does not hold has a window too, with noise in it.
    """

    carriers: Bool[np.ndarray, "6 3"]
    readout: Mapping[Modality, Float32[np.ndarray, "_ 6"]]
    windows: Mapping[str, Int64[np.ndarray, "_ 6 3 2"]]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :func:`load_truth` reads back, by name."""
        arrays: dict[str, np.ndarray] = {"carriers": self.carriers.astype(np.uint8)}
        for m, readout in self.readout.items():
            arrays[f"readout.{m}"] = readout
        for split, windows in self.windows.items():
            arrays[f"windows.{split}"] = windows
        return arrays


@cache
def mosei_statistics() -> MoseiStatistics:
    """Return the fitted statistics of CMU-MOSEI."""
    fitted = json.loads(_STATISTICS.read_text(encoding="utf-8"))
    label_sets = np.array(fitted["label_set_counts"], np.float64)
    words = np.array(fitted["word_counts"], np.float64)

    # from counts to probabilities
    label_sets /= label_sets.sum()
    words /= words.sum()
    return MoseiStatistics(label_sets, words)


def _members(codes: Int64[np.ndarray, "n"]) -> UInt8[np.ndarray, "n 6"]:
    """Turn label sets, as bits of a number, into 0/1 vectors."""
    bits = np.arange(len(EMOTIONS))
    members = codes[:, None] >> bits & 1  # (n, labels)
    return members.astype(np.uint8)


def _draw(
    probabilities: Float64[np.ndarray, "k"], uniform: Float64[np.ndarray, "n"]
) -> Int64[np.ndarray, "n"]:
    """Draw from a discrete distribution by inverting its cumulative one."""
    cumulative = np.cumsum(probabilities)
    # the last sum may miss 1 by rounding
    return np.searchsorted(cumulative / cumulative[-1], uniform, side="right")


@dataclass(frozen=True)
class _Plan:
    """Everything about a split but its features, drawn at once."""

    labels: UInt8[np.ndarray, "n 6"]
    words: Int64[np.ndarray, "n"]
    steps: Int64[np.ndarray, "n 3"]
    delays: Float64[np.ndarray, "n 3"]
    missing: Bool[np.ndarray, "n 3"]
    windows: Int64[np.ndarray, "n 6 3 2"]  # also of modalities that do not carry the label


def _plan(config: SyntheticConfig, split: str) -> _Plan:
    statistics = mosei_statistics()
    n_labels, n_modalities = _CARRIED.shape

    # one row of uniforms per sample, so that the first rows do not depend on the number of rows
    rng = np.random.default_rng([config.seed, _PLAN, _SPLITS.index(split)])
    width = 2 + n_labels + 3 * n_modalities
    uniform = rng.random((config.sizes[split], width))

    # every column has one use, so that no draw decides about two things
    of_labels = uniform[:, 0]
    of_words = uniform[:, 1]
    ends = np.cumsum([n_labels, n_modalities, n_modalities])
    of_start, of_rate, of_delay, of_missing = np.split(uniform[:, 2:], ends, axis=1)

    # (n, labels) and (n,); an utterance has at least one word
    labels = _members(_draw(statistics.label_sets, of_labels))
    words = 1 + _draw(statistics.words, of_words)

    if config.aligned:
        steps = np.repeat(words[:, None], n_modalities, axis=1)
        delays = np.zeros((len(words), n_modalities))
    else:
        steps = _unaligned_steps(words, of_rate)
        most = [MAX_DELAY[m] for m in MODALITIES]
        delays = of_delay * most

    # the modality with the highest draw stays, so that every sample keeps one
    missing = of_missing < config.missing
    rows = np.arange(len(words))
    kept = of_missing.argmax(1)
    missing[rows, kept] = False
    windows = _windows(config.window, of_start, words, steps, delays)
    return _Plan(labels, words, steps, delays, missing, windows)


def _unaligned_steps(
    words: Int64[np.ndarray, "n"], uniform: Float64[np.ndarray, "n 3"]
) -> Int64[np.ndarray, "n 3"]:
    """Return the steps of each modality at its own rate, which varies by a fifth."""
    rates = np.array([STEPS_PER_WORD[m] for m in MODALITIES])
    most = [MAX_STEPS[m] for m in MODALITIES]

    # words have no rate: a step of text is a word
    jitter = 0.8 + 0.4 * uniform  # (n, modalities)
    jitter = np.where(rates > 1, jitter, 1.0)

    steps = words[:, None] * rates * jitter
    steps = np.rint(steps)
    steps = np.clip(steps, 1, most)
    return steps.astype(np.int64)


def _windows(
    share: float,
    uniform: Float64[np.ndarray, "n 6"],
    words: Int64[np.ndarray, "n"],
    steps: Int64[np.ndarray, "n 3"],
    delays: Float64[np.ndarray, "n 3"],
) -> Int64[np.ndarray, "n 6 3 2"]:
    """Place the window of each label, and translate it into the steps of each modality.

    Args:
        share: share of the utterance that a window takes.
        uniform: draws in [0, 1) for the place of each window.
        words: number of words of each utterance.
        steps: number of steps of each modality.
        delays: delay of each modality, in words.
    """
    # in words: a window lies anywhere in the utterance
    width = np.rint(share * words)
    width = np.maximum(1, width)[:, None]  # (n, 1)
    free = words[:, None] - width + 1
    first = np.floor(uniform * free)  # (n, labels)

    # each modality shows it later by its own delay
    begin = first[:, :, None] + delays[:, None, :]  # (n, labels, modalities)

    # in steps: of at least one, and inside the sequence
    steps = steps[:, None, :]  # (n, 1, modalities)
    per_word = steps / words[:, None, None]
    length = np.rint(width[:, :, None] * per_word)
    length = np.maximum(1, length)  # (n, 1, modalities)
    begin = np.rint(begin * per_word)
    begin = np.clip(begin, 0, steps - length)
    end = begin + length
    windows = np.stack([begin, end], axis=-1)
    return windows.astype(np.int64)


def _mixing(config: SyntheticConfig) -> dict[Modality, Float32[np.ndarray, "_ _"]]:
    """Return per modality the map (factors, dim); the last factors are the labels it carries."""
    # how many labels each modality carries
    counts = _CARRIED.sum(0).tolist()
    carried = dict(zip(MODALITIES, counts, strict=True))

    rng = np.random.default_rng([config.seed, _WORLD])
    mixing = {}
    for m, dim in config.dims.items():
        factors = SHARED_FACTORS + PRIVATE_FACTORS
        factors += carried[m]

        # rows of about length 1, whatever the width
        normal = rng.standard_normal((factors, dim))
        scaled = normal / dim**0.5
        mixing[m] = scaled.astype(np.float32)
    return mixing


@dataclass(frozen=True)
class SyntheticSplit:
    """The samples of a split, each computed when asked for; iterate as often as you like."""

    name: str
    config: SyntheticConfig
    plan: _Plan
    mixing: Mapping[Modality, Float32[np.ndarray, "_ _"]]

    def __len__(self) -> int:
        return len(self.plan.words)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a split of {len(self)}")

        # a stream of its own, so that no sample depends on how many are drawn
        split = _SPLITS.index(self.name)
        rng = np.random.default_rng([self.config.seed, _FEATURES, split, index])

        # (words, factors), the same in all modalities
        words = int(self.plan.words[index])
        shared = _factors(rng, words, SHARED_FACTORS)

        present = {}
        for column, m in enumerate(MODALITIES):
            # a missing modality is drawn too, so that the others do not depend on it
            sequence = self._sequence(rng, index, column, shared)
            missing = self.plan.missing[index, column]
            if not missing:
                present[m] = sequence

        sample_id = f"{self.name}-{index:06d}"
        labels = self.plan.labels[index]
        return Sample(sample_id, present, labels)

    def _sequence(
        self,
        rng: np.random.Generator,
        index: int,
        column: int,
        shared: Float32[np.ndarray, "words shared"],
    ) -> Float32[np.ndarray, "steps dim"]:
        """Draw the features of one modality of a sample; the order of the draws is fixed."""
        plan = self.plan
        words = len(shared)
        steps = int(plan.steps[index, column])

        # noise is per word: a faster modality is noisier per step, and as hard in all
        steps_per_word = steps / words
        noise = np.float32(self.config.noise * steps_per_word**0.5)

        # where a label holds, its window is 1 higher than the noise around it
        carried = np.nonzero(_CARRIED[:, column])[0]
        normal = rng.standard_normal((steps, len(carried)), np.float32)
        evidence = noise * normal
        for k, label in enumerate(carried):
            begin, end = plan.windows[index, label, column]
            held = plan.labels[index, label]
            evidence[begin:end, k] += held

        # a step shows the factors of the word that is spoken at its middle
        private = _factors(rng, words, PRIVATE_FACTORS)
        middles = np.arange(steps) + 0.5
        moments = middles * (words / steps)  # in words
        moments = moments - plan.delays[index, column]
        word = np.clip(moments, 0, words - 1)
        word = word.astype(np.int64)  # (steps,)

        # (steps, factors) to (steps, dim)
        factors = np.concatenate([shared[word], private[word], evidence], axis=1)
        mixing = self.mixing[MODALITIES[column]]  # (factors, dim)
        dim = mixing.shape[1]

        values = rng.standard_normal((steps, dim), np.float32)
        values *= SENSOR_NOISE * noise
        values += factors @ mixing
        return values


def _factors(rng: np.random.Generator, words: int, count: int) -> Float32[np.ndarray, "_ _"]:
    """Draw factors (words, count) of variance 1: half of it from word to word."""
    # half of the variance stays for the whole utterance
    level = rng.standard_normal((1, count), np.float32)
    change = rng.standard_normal((words, count), np.float32)
    scale = np.float32(0.5**0.5)
    return (level + change) * scale


def generate(config: SyntheticConfig) -> tuple[dict[str, SyntheticSplit], PlantedTruth]:
    """Plan a data set; its samples are computed one by one as they are iterated over.

    Returns:
        The splits, and the truth planted in them.
    """
    mixing = _mixing(config)
    splits = {}
    windows = {}
    for split in config.sizes:
        plan = _plan(config, split)
        splits[split] = SyntheticSplit(split, config, plan, mixing)

        # -1 where a modality has nothing to show
        present = ~plan.missing[:, None, :]  # (n, 1, modalities)
        planted = _CARRIED & present  # (n, labels, modalities)
        windows[split] = np.where(planted[..., None], plan.windows, -1)

    readout = {}
    for column, m in enumerate(MODALITIES):
        readout[m] = _readout(mixing[m], column)

    truth = PlantedTruth(_CARRIED, readout, windows)
    return splits, truth


def _readout(mixing: Float32[np.ndarray, "factors dim"], column: int) -> Float32[np.ndarray, "_ 6"]:
    """Return the projection of the features of a modality onto the evidence of each label.

    Args:
        mixing: the map from factors to features.
        column: position of the modality in ``MODALITIES``.
    """
    # what was mixed in is read out by the inverse of the map
    inverse = np.linalg.pinv(mixing.astype(np.float64))
    inverse = inverse.astype(np.float32)  # (dim, factors)

    # evidence comes behind the factors that say nothing of the labels
    begin = SHARED_FACTORS + PRIVATE_FACTORS
    of_evidence = inverse[:, begin:]  # (dim, labels carried)

    # zero for the labels that the modality does not carry
    dim = len(inverse)
    readout = np.zeros((dim, len(EMOTIONS)), np.float32)
    carried = _CARRIED[:, column]
    readout[:, carried] = of_evidence
    return readout


def synthesize(
    config: SyntheticConfig, output: str | Path | None = None, *, overwrite: bool = False
) -> EmotionDataset:
    """Draw a data set, in memory or, sample by sample, into the folder ``output``.

    Stored, the planted truth lies beside the data for :func:`load_truth`.

    Raises:
        DataError: ``output`` exists and ``overwrite`` is false, or it is not a data set.
    """
    splits, truth = generate(config)
    name = "synthetic-aligned" if config.aligned else "synthetic-unaligned"
    if output is None:
        return EmotionDataset.from_samples(
            splits, name=name, label_names=EMOTIONS, dims=config.dims, aligned=config.aligned
        )
    from emotailor.data.store import DatasetWriter, open_dataset

    with DatasetWriter(
        output,
        name=name,
        label_names=EMOTIONS,
        dims=config.dims,
        aligned=config.aligned,
        provenance={
            "source": "synthetic data with label statistics of CMU-MOSEI",
            "config": config.to_json(),
            "carriers": CARRIERS,
        },
        overwrite=overwrite,
    ) as writer:
        for split, samples in splits.items():
            for sample in samples:
                writer.add(split, sample)
        writer.attach(TRUTH, truth.arrays())
    return open_dataset(output)


def is_planted(dataset: EmotionDataset) -> bool:
    """Whether a stored data set has the truth that was planted in it."""
    return dataset.card.attachment(TRUTH) is not None


def load_truth(path: str | Path) -> PlantedTruth:
    """Read the truth planted in a stored synthetic data set.

    Raises:
        DataError: there is no data set, it is not synthetic, or the file is damaged.
    """
    from emotailor.data.store import read_attachment

    arrays = read_attachment(path, TRUTH)
    keys = {m: f"readout.{m}" for m in MODALITIES}
    lost = [key for key in ("carriers", *keys.values()) if key not in arrays]
    if lost:
        raise _incomplete(path, f"it has no {', '.join(lost)}")

    carriers = arrays["carriers"].astype(bool)
    if carriers.shape != _CARRIED.shape:
        raise _incomplete(path, f"carriers has shape {carriers.shape}")

    readout = {}
    for m, key in keys.items():
        array = arrays[key]
        if array.ndim != 2 or array.shape[1] != len(EMOTIONS):
            raise _incomplete(path, f"{key} has shape {array.shape}")
        readout[m] = array

    # begin and end for each label and modality of a sample
    of_sample = (*_CARRIED.shape, 2)
    windows = {}
    for key, array in arrays.items():
        if not key.startswith("windows."):
            continue

        if array.shape[1:] != of_sample:
            raise _incomplete(path, f"{key} has shape {array.shape}")
        split = key.removeprefix("windows.")
        windows[split] = array
    return PlantedTruth(carriers, readout, windows)


def _incomplete(path: str | Path, why: str) -> DataError:
    return DataError(
        f"the planted truth of {path} is not complete: {why}",
        expected="carriers, readout and windows as `emotailor data synthesize` writes them",
        fix="synthesize the data again",
    )


def planted_evidence(split: Split, truth: PlantedTruth) -> Float[np.ndarray, "n 6"]:
    """Read the evidence of every label where it was planted: what an oracle of the windows sees.

    Returns:
        Mean projection over the steps of the window, averaged over the modalities that carry the
        label: around 1 where the label holds, around 0 where it does not; 0 where every carrying
        modality is missing.
    """
    samples = len(split)
    total = np.zeros((samples, len(EMOTIONS)))
    count = np.zeros_like(total)
    for column, m in enumerate(MODALITIES):
        readout = truth.readout[m]  # (dim, labels)
        windows = truth.windows[split.name][:, :, column]  # (samples, labels, 2)

        for i in range(samples):
            sequence = split.sequence(m, i)
            projected = sequence @ readout  # (steps, labels)

            # -1 where the modality has nothing to show
            planted = windows[i, :, 0] >= 0
            for label in np.nonzero(planted)[0]:
                begin, end = windows[i, label]
                window = projected[begin:end, label]
                total[i, label] += window.mean()
                count[i, label] += 1
    return total / np.maximum(count, 1)
