"""Is a stored data set whole and sensible? Finds every problem, not the first alone.

Damage is reported, never raised. Features are read shard by shard in blocks of rows, so memory
stays small whatever the size of the data set.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

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
        total = self.count + len(block)
        mean = block.mean(0)
        delta = mean - self.mean
        self.m2 += np.square(block - mean).sum(0) + delta**2 * self.count * len(block) / total
        self.mean += delta * len(block) / total
        self.count = total

    @property
    def std(self) -> Float64[np.ndarray, "dim"]:
        return np.sqrt(self.m2 / max(self.count, 1))


class _Validator:
    def __init__(self, folder: Path, card: DatasetCard, *, deep: bool) -> None:
        self.folder, self.card, self.deep = folder, card, deep
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
        for split, card in self.card.splits.items():
            for file_card in card.shards:
                before = len(self.problems)
                self._shard(split, file_card)
                if any(p.severity == "error" for p in self.problems[before:]):
                    self.damaged.add(split)
        self._splits()
        self._identity()
        self._label_balance()
        self._modalities()
        self._statistics()
        for attachment in self.card.attachments:
            self._tensors(attachment)
        self._unknown_files()
        return self.problems

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
        bad = {m: d for m, d in self.card.dims.items() if d < 1}
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
        if ids is not None:
            self.ids[split] += ids
            if len(ids) != file_card.samples:
                self.error(
                    f"it holds {len(ids)} samples, {CARD_FILE} says {file_card.samples}",
                    where,
                    REMAKE,
                )
        size = len(ids) if ids is not None else file_card.samples
        self._labels(tensors, where, split, size)
        lengths = {}
        for m in self.card.dims:
            steps = self._sequences(tensors, where, split, m, size)
            if steps is not None:
                lengths[m] = steps
        if lengths and len(lengths) == len(self.card.dims):
            self._lengths(lengths, ids, where)
        known = {"labels", "ids.bytes", "ids.offsets"}
        known |= {f"{m}.{part}" for m in self.card.dims for part in ("values", "offsets")}
        if unknown := sorted(set(tensors) - known):
            self.warn(f"arrays of no known use: {_some(unknown)}", where, "ignore them, or remake")

    def _ids(self, tensors: Mapping[str, np.ndarray], where: str) -> list[str] | None:
        raw, offsets = tensors.get("ids.bytes"), tensors.get("ids.offsets")
        if raw is None or offsets is None or raw.ndim != 1 or not _offsets_fit(offsets, len(raw)):
            self.error("its sample ids are missing or their offsets do not fit", where, REMAKE)
            return None
        data = raw.tobytes()
        try:
            return [data[a:b].decode() for a, b in pairwise(offsets.tolist())]
        except UnicodeDecodeError:
            self.error("its sample ids are not UTF-8", where, REMAKE)
            return None

    def _labels(self, tensors: Mapping[str, np.ndarray], where: str, split: str, size: int) -> None:
        labels, wanted = tensors.get("labels"), (size, len(self.card.label_names))
        if labels is None or labels.shape != wanted or labels.dtype != np.uint8:
            found = "missing" if labels is None else f"{labels.dtype} of shape {labels.shape}"
            self.error(f"its labels are {found}, expected uint8 of {wanted}", where, REMAKE)
            return
        if wrong := int((labels > 1).sum()):
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
        values, offsets = tensors.get(f"{modality}.values"), tensors.get(f"{modality}.offsets")
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

        def which(rows: np.ndarray) -> str:
            positions = np.nonzero(rows)[0].tolist()
            return _some([ids[i] if ids is not None else f"number {i}" for i in positions])

        nothing = (steps == 0).all(1)
        if nothing.any():
            self.error(f"samples without any modality: {which(nothing)}", where, REMAKE)
        least = np.where(steps > 0, steps, steps.max(1, keepdims=True)).min(1)
        uneven = least != steps.max(1)
        if self.card.aligned and uneven.any():
            self.error(
                f"aligned samples whose modalities differ in steps: {which(uneven)}",
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
        videos: dict[str, set[str]] = {}
        for split, ids in self.ids.items():
            for sample_id in ids:
                splits_of[sample_id].append(split)
            videos[split] = {video_of(sample_id) for sample_id in ids}
        twice = [sample_id for sample_id, splits in splits_of.items() if len(splits) > 1]
        if twice:
            within = ", ".join(sorted({split for i in twice for split in splits_of[i]}))
            self.error(
                f"{len(twice)} sample ids occur more than once: {_some(twice)}",
                f"splits {within}",
                "give every sample an id of its own, and each to one split",
            )
        names = list(videos)
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                if shared := sorted(videos[one] & videos[other]):
                    self.warn(
                        f"segments of {len(shared)} videos are in both: {_some(shared)}",
                        f"splits {one} and {other}",
                        "split by video, or results will look better than they are",
                    )

    def _label_balance(self) -> None:
        labels = self._all_labels("train")
        if not len(labels) or "train" in self.damaged:
            return  # nothing can be said of labels that are wrong
        for name, count in zip(self.card.label_names, (labels > 0).sum(0).tolist(), strict=True):
            if count in (0, len(labels)):
                self.warn(
                    f"label {name!r} {'always' if count else 'never'} holds",
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
        for m in self.card.dims:
            mean, std = stored.get(f"{m}.mean"), stored.get(f"{m}.std")
            wanted = (self.card.dims[m],)
            if mean is None or std is None or not mean.shape == std.shape == wanted:
                self.error(f"mean or standard deviation of {m} are missing", where, REMAKE)
            elif m in self.features and "train" not in self.damaged:
                seen = self.features[m]
                spread = np.maximum(seen.std, np.abs(seen.mean) * 1e-3) + 1e-12
                off = np.maximum(abs(mean - seen.mean), abs(std - seen.std)) / spread
                wrong = np.nonzero(~(off <= TOLERANCE))[0].tolist()  # NaN is wrong too
                if wrong:
                    self.error(
                        f"statistics of {m} are not those of the training split in "
                        f"{len(wrong)} features: {_some(wrong)}",
                        where,
                        REMAKE,
                    )

    def _unknown_files(self) -> None:
        cards = [c for split in self.card.splits.values() for c in split.shards]
        cards += [c for c in (self.card.statistics, *self.card.attachments) if c is not None]
        known = {CARD_FILE, *(c.file for c in cards)}
        unknown = sorted(p.name for p in self.folder.iterdir() if p.name not in known)
        if unknown:
            self.warn(
                f"{len(unknown)} files do not belong to the data set: {_some(unknown)}",
                str(self.folder),
                "move them elsewhere; overwriting the data set would delete them",
            )


def _blocks(values: np.ndarray) -> Iterator[Float64[np.ndarray, "rows dim"]]:
    for start in range(0, len(values), BLOCK_ROWS):
        yield values[start : start + BLOCK_ROWS].astype(np.float64)


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
    shown = ", ".join(map(str, values[:EXAMPLES]))
    return shown + (f" and {len(values) - EXAMPLES} more" if len(values) > EXAMPLES else "")


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
