"""What every training starts from: the device, the data as the system takes them, the model."""

import platform
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from emotailor.data.batching import Batch, Standardizer, collate
from emotailor.data.dataset import Split
from emotailor.data.sample import canonical_label
from emotailor.data.store import open_dataset, read_statistics
from emotailor.errors import ConfigError, DataError
from emotailor.models.adapters.model import Adapters, TextAdapted
from emotailor.models.base import EmotionModel, FittedModel, LabelStatistics
from emotailor.models.factory import build_model, model_class
from emotailor.models.table import find_system
from emotailor.shapes import shapes_alone
from emotailor.training.adapters import load_adapters, resolve_adapters
from emotailor.training.alignment import longest_sequence, resolve_alignment, target_lengths
from emotailor.training.devices import canonical_device
from emotailor.training.losses import set_loss
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.starting import Start, check_start, standardized_as, take_weights


def choose_device(wanted: str) -> torch.device:
    """Return the device of a name: ``auto`` is the best there is, ``gpu`` the GPU there is.

    Raises:
        ConfigError: no such device on this machine.
    """
    try:
        name = canonical_device(wanted)
    except ValueError as error:
        raise _no_device(str(error)) from error

    best = _best_device()
    if name == "auto":
        return best
    if name == "gpu":
        if best.type == "cpu":
            raise _no_device(f"device {wanted!r}: this machine has no GPU that torch can use")
        return best

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(name.partition(":")[2] or 0)
    if name.startswith("cuda") and number >= count:
        raise _no_device(f"device {wanted!r}: this machine has {count or 'no'} CUDA devices")
    if name == "mps" and not torch.backends.mps.is_available():
        raise _no_device(f"device {wanted!r}: this machine has no MPS device that torch can use")
    return torch.device(name)


def _no_device(found: str) -> ConfigError:
    return ConfigError(
        f"{found}",
        expected=f"auto, or one that is here: {', '.join(devices_here())}",
        fix="leave --device out to take the best one, or see `emotailor doctor`",
    )


def devices_here() -> list[str]:
    """Return the devices of this machine that torch can use."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return how the maker calls a device, such as ``NVIDIA H100 80GB HBM3`` or a processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)

    name = _name_in_cpuinfo() or platform.processor() or platform.machine()
    return f"{name} ({device.type})"


def _name_in_cpuinfo() -> str | None:
    """Return the name of the processor as Linux has it, or None."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None

    for line in lines:
        key, _, value = line.partition(":")
        if key.startswith("model name"):
            return value.strip()
    return None


class TrainingData:
    """A stored data set as one system is trained on it.

    A sample is named in three ways, and each has one word:

    - *position*: where it is in the split without what has no labels, from 0;
    - *number*: which one it is of the samples used for training, from 0; the sample of number i is
      at ``positions[i]``. The batches of an epoch are arrays of numbers;
    - *row*: where it is in one batch, from 0.

    Args:
        config: of the run.
        reporter: is told of samples that cannot be used.
        start: the trained model to start from, if any.

    Attributes:
        dataset: as stored.
        train_split: the samples to train on, without those whose labels are unknown.
        valid_split: the samples to validate on, likewise.
        kept_split: the samples whose predictions are kept after every epoch, likewise; None where
            nothing is kept.
        positions: (n,), positions of the used samples: those that have one of the modalities.
        dims: modality -> feature width, of the modalities the system takes.
        alignment: what is put before the system, for this data set.
        adapters: how its text encoder is trained along, for this data set.
        lengths: (n,), by number, steps of each used sample: of its longest modality, or of what
            all are aligned to.
        standardizer: applied to every sequence, or None.

    Raises:
        DataError: the data set cannot be used.
        ConfigError: it does not have the modalities the system needs.
        ModelError: the model to start from was trained on features of another kind.
    """

    def __init__(self, config: RunConfig, reporter: Reporter, start: Start | None = None) -> None:
        self.config = config
        self.start = start
        self.reporter = reporter

        settings = config.data
        self.dataset = open_dataset(settings.path)
        self.train_split = self._labelled(settings.train_split)
        self.valid_split = self._labelled(settings.valid_split)
        self.kept_split: Split | None = None
        if config.training.protocols is not None:
            self.kept_split = self._labelled(config.training.protocols)

        system = find_system(config.system)
        self.dims = system.choose(self.dataset.dims, settings.modalities)
        self._check_modality_dropout()
        if start is not None:
            check_start(start, self.dims, self.dataset.card)
        self.positions = self._usable(self.train_split)
        self.alignment = resolve_alignment(
            config.alignment, system, self.dims, self.dataset, self.train_split
        )
        self.adapters = resolve_adapters(
            config.adapters, system, self.dims, self.dataset, self.train_split
        )
        self.lengths = self._lengths()
        self.standardizer = self._standardizer() if settings.standardize else None

    def _check_modality_dropout(self) -> None:
        """Refuse to hide modalities where nothing would come of it.

        Raises:
            ConfigError: there is one modality, or the system is fitted at once.
        """
        rate = self.config.training.modality_dropout
        problem = None
        if len(self.dims) < 2:
            problem = f"the system takes {', '.join(self.dims)} alone"
        elif issubclass(model_class(self.config.system), FittedModel):
            problem = "the system is fitted at once, on all samples as they are"
        if not rate or problem is None:
            return
        raise ConfigError(
            f"training.modality_dropout = {rate:g}, but {problem}",
            expected="a system that is trained by gradients, on two modalities or more",
            fix="leave the setting out",
        )

    def _lengths(self) -> Int64[np.ndarray, "n"]:
        """Return the steps of each used sample, by number, (n,)."""
        steps = {}
        for m in self.dims:
            lengths = self.train_split.lengths(m)
            steps[m] = lengths[self.positions]

        if self.alignment.kind == "ctc":
            return target_lengths(self.alignment, steps)

        longest: Int64[np.ndarray, "n"] = np.max(list(steps.values()), axis=0)
        return longest

    def _standardizer(self) -> Standardizer:
        """Return the standardizer of the stored feature statistics.

        Raises:
            ConfigError: the statistics are of another split than the one trained on.
        """
        settings = self.config.data
        if settings.train_split != "train":
            raise ConfigError(
                f"data.train_split = {settings.train_split!r} with data.standardize",
                expected="the split 'train', whose feature statistics the data set stores",
                fix="train with --set data.standardize=false, or store the samples as split "
                "'train'",
            )

        card = self.dataset.card
        statistics = read_statistics(settings.path, card)
        own = Standardizer.from_statistics(statistics, list(self.dims), card.dtypes)
        return own if self.start is None else standardized_as(own, self.start)

    def _nonempty(self, name: str) -> Split:
        split = self.dataset[name]
        if not len(split):
            raise DataError(f"split {name!r} of {self.config.data.path} is empty")
        return split

    def _labelled(self, name: str) -> Split:
        """Return the samples of a split whose labels are known, and tell of the others."""
        split = self._nonempty(name)
        labelled = split.with_labels()

        unknown = len(split) - len(labelled)
        if unknown:
            self.reporter.message(
                f"{unknown} of {len(split)} samples of split {name!r} have no labels and are "
                "left out"
            )
        return labelled

    def _usable(self, split: Split) -> Int64[np.ndarray, "_"]:
        """Positions of the samples that have at least one of the chosen modalities."""
        per_modality = {m: split.present(m) for m in self.dims}
        present = np.any(list(per_modality.values()), axis=0)  # (samples of the split,)
        modalities = ", ".join(self.dims)
        if not present.any():
            raise DataError(
                f"no sample of split {split.name!r} has any of {modalities}",
                fix="choose other --modalities",
            )

        for m, having in per_modality.items():
            if not having.any():
                self.reporter.message(
                    f"no sample of split {split.name!r} has {m}: nothing is learned about it"
                )

        missing = len(split) - int(present.sum())
        if missing:
            self.reporter.message(
                f"{missing} of {len(split)} samples of split {split.name!r} have "
                f"none of {modalities} and are left out of training"
            )
        return np.flatnonzero(present)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of the model's outputs."""
        return self.dataset.label_names

    def batch(self, numbers: Int64[np.ndarray, "_"]) -> Batch:
        """Collate used training samples, given by their numbers."""
        samples = [self.train_split.sample(int(self.positions[i])) for i in numbers]
        return collate(
            samples, self.dims, aligned=self.dataset.aligned, standardize=self.standardizer
        )

    def labels(self) -> Float[torch.Tensor, "n labels"]:
        """Return the labels of the used training samples, by number, (n, L)."""
        return torch.from_numpy(self.train_split.labels[self.positions]).float()

    def statistics(self) -> LabelStatistics:
        """Return what a model may know of the training labels."""
        file = self.config.data.label_vectors
        vectors = None
        if file is not None:
            vectors = torch.from_numpy(read_vectors(file, self.label_names))
        return LabelStatistics.of(self.label_names, self.labels(), vectors)

    def build(self) -> EmotionModel:
        """Build a fresh model from the run's seed and show it the training labels.

        Where the training starts from another model, it has the weights of that which fit.

        Raises:
            ModelError: the data do not fit the model.
            ConfigError: the loss of the settings does not fit the system or the labels.
        """
        config = self.config
        torch.manual_seed(config.training.seed)
        labels = len(self.label_names)
        adapters = load_adapters(self.adapters, self.dataset.card.extraction.get("text"))
        model = build_model(
            config.system, config.model, self.dims, labels, self.alignment, adapters=adapters
        )
        if isinstance(model, TextAdapted) and self.standardizer is not None:
            model.standardize_as(self.standardizer)

        # the lengths of every split, or a test sequence could turn out too long after training
        longest = {m: longest_sequence(self.dataset, m) for m in self.dims}
        model.check_lengths(longest, aligned=self.dataset.aligned)

        statistics = self.statistics()
        model.prepare(statistics)
        set_loss(model, config.training, statistics)
        if self.start is not None:
            self._start_from(self.start, model, adapters)
        return model

    def _start_from(self, start: Start, model: EmotionModel, adapters: Adapters | None) -> None:
        """Take the weights that fit, and say which.

        Raises:
            ConfigError: none does.
        """
        config = self.config
        # which weights have a place for each label shows in a model with one label more
        with shapes_alone():
            larger = build_model(
                config.system,
                config.model,
                self.dims,
                len(self.label_names) + 1,
                self.alignment,
                adapters=adapters,
            )
        shapes = {name: parameter.shape for name, parameter in larger.named_parameters()}
        taken = take_weights(
            model,
            start,
            self.label_names,
            shapes,
            same_system=start.loaded.card.system == config.system,
        )
        self.reporter.message(taken.describe(start.name))


def read_vectors(file: str | Path, names: tuple[str, ...]) -> Float32[np.ndarray, "labels width"]:
    """Read one word vector per label.

    Args:
        file: an ``.npz`` file with an array per word, or text with a word and its numbers per line
            (as GloVe's files).
        names: of the labels; a name of several words is the mean of those found.

    Raises:
        DataError: the file is missing or damaged, a label has no vector, or widths differ.
    """
    path = Path(file)
    expected = "an .npz file with one array per label, or lines of a word and its numbers"
    wanted: set[str] = set()
    for name in names:
        wanted.update(_words(name))

    is_archive = path.suffix.lower() == ".npz"
    try:
        found = _read_arrays(path) if is_archive else _read_lines(path, wanted)
    except Exception as error:  # numpy and zipfile fail on damaged files in many ways
        raise DataError(f"{path} cannot be read: {error}", expected=expected) from error

    rows = []
    for name in names:
        whole, *single = _words(name)
        parts = [whole] if whole in found else [word for word in single if word in found]
        if not parts:
            raise DataError(f"{path} has no vector for the label {name!r}", expected=expected)
        rows.append([found[part] for part in parts])

    shapes: set[tuple[int, ...]] = set()
    for row in rows:
        shapes.update(vector.shape for vector in row)
    is_row = [len(shape) == 1 and shape[0] > 0 for shape in shapes]
    if len(shapes) > 1 or not all(is_row):
        raise DataError(f"{path}: vectors of the shapes {sorted(shapes)}", expected=expected)

    vectors = np.stack([np.mean(row, axis=0) for row in rows])  # (L, width)
    if not np.isfinite(vectors).all():
        raise DataError(f"{path}: vectors that are not finite", expected="finite numbers")
    return vectors


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the vectors of an ``.npz`` file, by word."""
    found = {}
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        for name in arrays:
            key = _words(name)[0]
            found[key] = np.asarray(arrays[name], np.float32)
    return found


def _read_lines(path: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    """Return the vectors of a text file whose words are wanted, by word; the first counts."""
    found: dict[str, np.ndarray] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            word, *numbers = line.rstrip().split(" ")
            key = _words(word)[0]
            # a file of GloVe has 400 000 words: only those of labels are turned into numbers
            if key in wanted and key not in found:
                found[key] = np.array(numbers, np.float32)
    return found


def _words(name: str) -> list[str]:
    """The label as one word, and its single words."""
    whole = canonical_label(name).lower()
    return [whole, *whole.replace("_", " ").split()]
