"""Is a stored data set whole and sensible? Finds every problem, not the first alone.

Damage is reported, never raised. Features are read shard by shard in blocks of rows, so memory
stays small whatever the size of the data set.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

from emotailor.data.card import CARD_FILE, DatasetCard, FileCard
from emotailor.data.sample import Modality, canonical_label, video_of
from emotailor.data.store import map_tensors, read_card
from emotailor.errors import DataError
from emotailor.files import sha256_of

BLOCK_ROWS = 2**14
EXAMPLES = 3
TOLERANCE = 1e-4  # of stored statistics, relative to the spread of the feature

REMAKE = "convert or synthesize the data again"
COPY = "copy the file again from where it was made, or convert the data again"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set.

    Attributes:
        severity: ``error``: the data cannot be trusted; ``warning``: it can be used.
        what: what is wrong, in numbers.
        where: the file, split, modality or label.
        fix: what to do about it.
    """

    severity: Literal["error", "warning"]
    what: str
    where: str
    fix: str


class _Features:
    """Range and moments of one modality's features, over blocks of rows."""

    def __init__(self, dim: int) -> None:
        self.low: Float64[np.ndarray, "dim"] = np.full(dim, np.inf)
        self.high: Float64[np.ndarray, "dim"] = np.full(dim, -np.inf)
        self.mean: Float64[np.ndarray, "dim"] = np.zeros(dim)
        self.m2: Float64[np.ndarray, "dim"] = np.zeros(dim)
        self.count = 0

    def add(self, block: Float64[np.ndarray, "rows dim"], *, train: bool) -> None:
        self.low = np.minimum(self.low, block.min(0))
        self.high = np.maximum(self.high, block.max(0))
        if not train:
            return

        # Chan's update of mean and variance by a block
        total = self.count + len(block)
        mean = block.mean(0)
        delta = mean - self.mean
        within = np.square(block - mean).sum(0)
        between = delta**2 * self.count * len(block) / total
        self.m2 += within + between
        self.mean += delta * len(block) / total
        self.count = total

    @property
    def std(self) -> Float64[np.ndarray, "dim"]:
        return np.sqrt(self.m2 / max(self.count, 1))


class _Validator:
    def __init__(self, folder: Path, card: DatasetCard, *, deep: bool) -> None:
        self.folder = folder
        self.card = card
        self.deep = deep
        self.problems: list[Problem] = []
        self.ids: defaultdict[str, list[str]] = defaultdict(list)  # per split, of readable shards
        self.labels: defaultdict[str, list[np.ndarray]] = defaultdict(list)
        self.present: defaultdict[Modality, int] = defaultdict(int)
        self.features: dict[Modality, _Features] = {}
        self.damaged: set[str] = set()  # splits that could not be read in full

    def error(self, what: str, where: str, fix: str) -> None:
        self.problems.append(Problem("error", what, where, fix))

    def warn(self, what: str, where: str, fix: str) -> None:
        self.problems.append(Problem("warning", what, where, fix))

    def run(self) -> list[Problem]:
        self._names()
        self._shards()
        self._splits()
        self._identity()
        self._label_balance()
        self._modalities()
        self._statistics()
        for attachment in self.card.attachments:
            self._tensors(attachment)
        self._unknown_files()
        return self.problems

    def _shards(self) -> None:
        for split, card in self.card.splits.items():
            for file_card in card.shards:
                before = len(self.problems)
                self._shard(split, file_card)
                found = self.problems[before:]
                if any(problem.severity == "error" for problem in found):
                    self.damaged.add(split)

    def _names(self) -> None:
        names = self.card.label_names
        if not names:
            self.error("there are no labels", CARD_FILE, REMAKE)
        seen: dict[str, str] = {}
        for name in names:
            canonical = canonical_label(name)
            if canonical in seen:
                self.error(
                    f"labels {seen[canonical]!r} and {name!r} are the same emotion",
                    CARD_FILE,
                    "merge the two columns and convert the data again",
                )
            elif canonical != name:
                self.warn(
                    f"label {name!r} is called {canonical!r} in the paper",
                    CARD_FILE,
                    f"rename the column to {canonical!r} if it is the same emotion",
                )
            seen[canonical] = name

        bad = {m: dim for m, dim in self.card.dims.items() if dim < 1}
        if bad or not self.card.dims:
            self.error(f"widths of the modalities {bad or 'are not given'}", CARD_FILE, REMAKE)

    def _tensors(self, file_card: FileCard) -> dict[str, np.ndarray] | None:
        """Check the bytes of a file and map what it holds; None where that cannot be done."""
        file = self.folder / file_card.file
        if not file.is_file():
            self.error("the file is missing", file_card.file, COPY)
            return None
        try:
            if self.deep and sha256_of(file) != file_card.sha256:
                self.error(
                    f"its bytes do not hash to the SHA-256 in {CARD_FILE}", file_card.file, COPY
                )
            return map_tensors(file)
        except (DataError, OSError) as error:
            found = error.found if isinstance(error, DataError) else str(error)
            self.error(found, file_card.file, COPY)
            return None

    def _shard(self, split: str, file_card: FileCard) -> None:
        tensors = self._tensors(file_card)
        if tensors is None:
            return

        where = file_card.file
        ids = self._ids(tensors, where)
        size = file_card.samples if ids is None else len(ids)
        if ids is not None:
            self.ids[split] += ids
        if size != file_card.samples:
            self.error(
                f"it holds {size} samples, {CARD_FILE} says {file_card.samples}", where, REMAKE
            )
        self._labels(tensors, where, split, size)

        lengths = {}
        for m in self.card.dims:
            steps = self._sequences(tensors, where, split, m, size)
            if steps is not None:
                lengths[m] = steps
        if lengths and len(lengths) == len(self.card.dims):
            self._lengths(lengths, ids, where)
        self._unknown_arrays(tensors, where)

    def _unknown_arrays(self, tensors: Mapping[str, np.ndarray], where: str) -> None:
        known = {"labels", "ids.bytes", "ids.offsets"}
        for m in self.card.dims:
            known |= {f"{m}.values", f"{m}.offsets"}
        unknown = sorted(set(tensors) - known)
        if unknown:
            self.warn(f"arrays of no known use: {_some(unknown)}", where, "ignore them, or remake")

    def _ids(self, tensors: Mapping[str, np.ndarray], where: str) -> list[str] | None:
        raw = tensors.get("ids.bytes")
        offsets = tensors.get("ids.offsets")
        if raw is None or offsets is None or raw.ndim != 1 or not _offsets_fit(offsets, len(raw)):
            self.error("its sample ids are missing or their offsets do not fit", where, REMAKE)
            return None

        data = raw.tobytes()
        bounds = pairwise(offsets.tolist())
        try:
            return [data[begin:end].decode() for begin, end in bounds]
        except UnicodeDecodeError:
            self.error("its sample ids are not UTF-8", where, REMAKE)
            return None

    def _labels(self, tensors: Mapping[str, np.ndarray], where: str, split: str, size: int) -> None:
        labels = tensors.get("labels")
        wanted = (size, len(self.card.label_names))
        if labels is None:
            self.error(f"its labels are missing, expected uint8 of {wanted}", where, REMAKE)
            return
        if labels.shape != wanted or labels.dtype != np.uint8:
            found = f"{labels.dtype} of shape {labels.shape}"
            self.error(f"its labels are {found}, expected uint8 of {wanted}", where, REMAKE)
            return

        wrong = int((labels > 1).sum())
        if wrong:
            self.error(f"{wrong} label values are neither 0 nor 1", where, REMAKE)
        self.labels[split].append(np.array(labels))

    def _sequences(
        self,
        tensors: Mapping[str, np.ndarray],
        where: str,
        split: str,
        modality: Modality,
        size: int,
    ) -> np.ndarray | None:
        """Check one modality of a shard and return the steps of each sample, (size,)."""
        dim = self.card.dims[modality]
        values = tensors.get(f"{modality}.values")
        offsets = tensors.get(f"{modality}.offsets")
        if values is None or offsets is None:
            self.error(f"{modality} is not in it", where, REMAKE)
            return None
        if values.ndim != 2 or values.shape[1] != dim or values.dtype != np.float32:
            self.error(
                f"{modality} is {values.dtype} of shape {values.shape}, expected float32 of "
                f"(steps, {dim})",
                where,
                REMAKE,
            )
            return None
        if offsets.shape != (size + 1,) or not _offsets_fit(offsets, len(values)):
            self.error(
                f"the offsets of {modality} do not run from 0 to its {len(values)} steps over "
                f"{size} samples",
                where,
                REMAKE,
            )
            return None

        lengths = np.diff(offsets)
        self.present[modality] += int((lengths > 0).sum())
        if self.deep:
            self._values(values, where, split, modality)
        return lengths

    def _values(self, values: np.ndarray, where: str, split: str, modality: Modality) -> None:
        bad: Bool[np.ndarray, "dim"] = np.zeros(values.shape[1], bool)
        count = 0
        features = self.features.setdefault(modality, _Features(values.shape[1]))
        for block in _blocks(values):
            finite = np.isfinite(block)
            if not finite.all():
                count += int((~finite).sum())
                bad |= ~finite.all(0)

            whole = block[finite.all(1)]
            if len(whole):
                features.add(whole, train=split == "train")

        if count:
            self.error(
                f"{count} values of {modality} are not finite, in features "
                f"{_some(np.nonzero(bad)[0].tolist())}",
                where,
                "convert the data again: importing replaces such values by 0",
            )

    def _lengths(
        self, lengths: Mapping[Modality, np.ndarray], ids: list[str] | None, where: str
    ) -> None:
        steps = np.stack(list(lengths.values()), axis=1)  # (samples, modalities)
        nothing = (steps == 0).all(1)
        if nothing.any():
            which = _which(nothing, ids)
            self.error(f"samples without any modality: {which}", where, REMAKE)

        most = steps.max(1)
        present = np.where(steps > 0, steps, most[:, None])
        uneven = present.min(1) != most
        if self.card.aligned and uneven.any():
            which = _which(uneven, ids)
            self.error(
                f"aligned samples whose modalities differ in steps: {which}",
                where,
                "convert the data as unaligned, or align it to words first",
            )

    def _splits(self) -> None:
        names = self.card.label_names
        for split, card in self.card.splits.items():
            where = f"split {split}"
            if not card.samples or not card.shards:
                self.error("the split is empty", where, "leave it out, or convert the data again")
            if split in self.damaged:
                continue  # its counts cannot be right

            if len(self.ids[split]) != card.samples:
                self.error(
                    f"it holds {len(self.ids[split])} samples, {CARD_FILE} says {card.samples}",
                    where,
                    REMAKE,
                )

            labels = self._all_labels(split)
            counts = dict(zip(names, labels.sum(0, dtype=np.int64).tolist(), strict=True))
            if counts != card.label_counts:
                self.error(
                    f"its labels count {counts}, {CARD_FILE} says {card.label_counts}",
                    where,
                    REMAKE,
                )

        if not self.card.splits:
            self.error("there are no splits", CARD_FILE, REMAKE)
        elif "train" not in self.card.splits:
            self.warn(
                "there is no split 'train'", CARD_FILE, "it can be evaluated, but not trained on"
            )

    def _all_labels(self, split: str) -> np.ndarray:
        empty = np.zeros((0, len(self.card.label_names)), np.uint8)
        return np.concatenate([empty, *self.labels[split]])

    def _identity(self) -> None:
        splits_of: defaultdict[str, list[str]] = defaultdict(list)
        for split, ids in self.ids.items():
            for sample_id in ids:
                splits_of[sample_id].append(split)

        twice = [sample_id for sample_id, splits in splits_of.items() if len(splits) > 1]
        if twice:
            within = {split for sample_id in twice for split in splits_of[sample_id]}
            self.error(
                f"{len(twice)} sample ids occur more than once: {_some(twice)}",
                f"splits {', '.join(sorted(within))}",
                "give every sample an id of its own, and each to one split",
            )
        self._leaks()

    def _leaks(self) -> None:
        """Warn of videos with segments in two splits."""
        videos = {split: {video_of(name) for name in ids} for split, ids in self.ids.items()}
        for one, other in combinations(videos, 2):
            shared = sorted(videos[one] & videos[other])
            if shared:
                self.warn(
                    f"segments of {len(shared)} videos are in both: {_some(shared)}",
                    f"splits {one} and {other}",
                    "split by video, or results will look better than they are",
                )

    def _label_balance(self) -> None:
        labels = self._all_labels("train")
        if not len(labels) or "train" in self.damaged:
            return  # nothing can be said of labels that are wrong

        counts = (labels > 0).sum(0).tolist()
        for name, count in zip(self.card.label_names, counts, strict=True):
            if count in (0, len(labels)):
                how_often = "always" if count else "never"
                self.warn(
                    f"label {name!r} {how_often} holds",
                    "split train",
                    "leave the label out: nothing can be learned about it",
                )

    def _modalities(self) -> None:
        if not self.damaged:
            for m in self.card.dims:
                if not self.present[m]:
                    self.warn("no sample has it", m, "leave the modality out")

        for m, seen in self.features.items():
            constant = np.nonzero(seen.low == seen.high)[0].tolist()
            if constant:
                self.warn(
                    f"{len(constant)} of {self.card.dims[m]} features are constant: "
                    f"{_some(constant)}",
                    m,
                    "harmless; check the extraction if you expected them to vary",
                )

    def _statistics(self) -> None:
        if self.card.statistics is None:
            if "train" in self.card.splits:
                self.error("there are no feature statistics", CARD_FILE, REMAKE)
            return
        where = self.card.statistics.file
        stored = self._tensors(self.card.statistics)
        if stored is None:
            return

        for m, dim in self.card.dims.items():
            mean = stored.get(f"{m}.mean")
            std = stored.get(f"{m}.std")
            if mean is None or std is None or mean.shape != (dim,) or std.shape != (dim,):
                self.error(f"mean or standard deviation of {m} are missing", where, REMAKE)
                continue
            if m not in self.features or "train" in self.damaged:
                continue

            wrong = _differing(self.features[m], mean, std)
            if wrong:
                self.error(
                    f"statistics of {m} are not those of the training split in "
                    f"{len(wrong)} features: {_some(wrong)}",
                    where,
                    REMAKE,
                )

    def _unknown_files(self) -> None:
        files = [*self.card.attachments]
        if self.card.statistics is not None:
            files.append(self.card.statistics)
        for split in self.card.splits.values():
            files += split.shards

        known = {CARD_FILE, *(card.file for card in files)}
        unknown = sorted(path.name for path in self.folder.iterdir() if path.name not in known)
        if unknown:
            self.warn(
                f"{len(unknown)} files do not belong to the data set: {_some(unknown)}",
                str(self.folder),
                "move them elsewhere; overwriting the data set would delete them",
            )


def _differing(
    seen: _Features, mean: Float32[np.ndarray, "dim"], std: Float32[np.ndarray, "dim"]
) -> list[int]:
    """Return the features whose stored statistics are not those that were seen."""
    spread = np.maximum(seen.std, np.abs(seen.mean) * 1e-3) + 1e-12
    off = np.maximum(abs(mean - seen.mean), abs(std - seen.std)) / spread
    right = off <= TOLERANCE  # NaN is wrong too
    return np.nonzero(~right)[0].tolist()


def _blocks(values: np.ndarray) -> Iterator[Float64[np.ndarray, "rows dim"]]:
    for start in range(0, len(values), BLOCK_ROWS):
        yield values[start : start + BLOCK_ROWS].astype(np.float64)


def _which(rows: np.ndarray, ids: list[str] | None) -> str:
    """Name the first samples where ``rows`` is True: by id, or by number where ids are lost."""
    positions = np.nonzero(rows)[0].tolist()
    if ids is None:
        return _some([f"number {i}" for i in positions])
    return _some([ids[i] for i in positions])


def _offsets_fit(offsets: np.ndarray, total: int) -> bool:
    return bool(
        offsets.dtype == np.int64
        and offsets.ndim == 1
        and len(offsets)
        and offsets[0] == 0
        and offsets[-1] == total
        and (np.diff(offsets) >= 0).all()
    )


def _some(values: list[str] | list[int]) -> str:
    shown = ", ".join(str(value) for value in values[:EXAMPLES])
    rest = len(values) - EXAMPLES
    return f"{shown} and {rest} more" if rest > 0 else shown


def validate_dataset(path: str | Path, *, deep: bool = True) -> list[Problem]:
    """Check a stored data set and return everything that is wrong with it.

    Args:
        path: folder of the data set.
        deep: also read every byte: hashes, finiteness, constant features and statistics.

    Returns:
        All problems, empty where the data set is sound.

    Raises:
        DataError: there is no data set at ``path``.
    """
    folder = Path(path)
    if not (folder / CARD_FILE).is_file():
        read_card(folder)  # says that there is none
    try:
        card = read_card(folder)
    except DataError as error:
        return [Problem("error", error.found, CARD_FILE, error.fix or REMAKE)]
    return _Validator(folder, card, deep=deep).run()
