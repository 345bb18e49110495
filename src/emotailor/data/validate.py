"""Is a stored data set whole and sensible? Finds every problem, not the first alone.

Damage is reported, never raised. Features are read shard by shard in blocks of rows, so memory
stays small whatever the size of the data set.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from pydantic import ValidationError

from emotailor.data.card import CARD_FILE, DatasetCard, FileCard, ShardCard, SplitCard
from emotailor.data.dataset import Texts
from emotailor.data.ids import Videos
from emotailor.data.sample import Modality, canonical_label
from emotailor.data.shard import Layout, known_tensors, wrong_offsets, wrong_texts
from emotailor.data.store import read_card
from emotailor.data.tensors import MappedFile, check_file, map_file
from emotailor.errors import DataError
from emotailor.files import sha256_of
from emotailor.verified import HASH_KEY, is_there

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

        # what is not seen in training is not in the statistics
        if not train:
            return

        # Chan's update of mean and variance by a block
        rows = len(block)
        total = self.count + rows
        mean = block.mean(0)
        delta = mean - self.mean

        within = np.square(block - mean).sum(0)
        between = delta**2 * self.count * rows / total
        self.m2 += within + between
        self.mean += delta * rows / total
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

        # of the shards that can be read, per split
        self.ids: defaultdict[str, list[str]] = defaultdict(list)
        self.labels: defaultdict[str, list[np.ndarray]] = defaultdict(list)
        self.damaged: set[str] = set()  # splits that could not be read in full

        # of all splits, per modality
        self.present: defaultdict[Modality, int] = defaultdict(int)
        self.in_train: defaultdict[Modality, int] = defaultdict(int)
        self.features: dict[Modality, _Features] = {}

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
            self._map(attachment)
        self._unknown_files()
        return self.problems

    def _shards(self) -> None:
        for split, card in self.card.splits.items():
            for file_card in card.shards:
                before = len(self.problems)
                self._shard(split, file_card)

                # a warning does not make the shard unreadable
                found = self.problems[before:]
                severities = {problem.severity for problem in found}
                if "error" in severities:
                    self.damaged.add(split)

    def _names(self) -> None:
        names = self.card.label_names
        if not names:
            self.warn("there are no labels", CARD_FILE, "it can be predicted on, not trained on")

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

        dims = self.card.dims
        bad = {m: dim for m, dim in dims.items() if dim < 1}
        if bad or not dims:
            found = bad or "are not given"
            self.error(f"widths of the modalities {found}", CARD_FILE, REMAKE)

    def _map(self, file_card: FileCard) -> MappedFile | None:
        """Check the bytes of a file and map what it holds; None where that cannot be done."""
        name = file_card.file
        file = self.folder / name
        if not is_there(file):
            self.error("the file is missing", name, COPY)
            return None

        try:
            check_file(file)
            if self.deep and sha256_of(file) != file_card.sha256:
                self.error(f"its bytes do not hash to the SHA-256 in {CARD_FILE}", name, COPY)
            # a file with another hash may still hold arrays, with more to be found in them
            return map_file(file)
        except DataError as error:
            self.error(error.found, name, error.fix or COPY)
        except OSError as error:
            self.error(str(error), name, COPY)
        return None

    def _shard(self, split: str, file_card: ShardCard) -> None:
        before = len(self.problems)
        mapped = self._map(file_card)
        if mapped is None:
            return

        tensors = mapped.tensors
        if self.deep and len(self.problems) == before:
            self._hashes(mapped, file_card)

        # the card says how many samples there should be where the ids are lost
        where = file_card.file
        size = file_card.samples
        ids = self._ids(tensors, where)
        if ids is not None:
            self.ids[split] += ids
            size = len(ids)
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

        # modalities can be compared only where all of them could be read
        if lengths and len(lengths) == len(self.card.dims):
            self._lengths(lengths, ids, where)
        self._unknown_arrays(tensors, where)

        # words, times and other texts, which nothing else depends on
        if len(self.problems) == before:
            misfit = Layout(tensors, self.card).misfit
            if misfit is not None:
                self.error(misfit, where, REMAKE)

    def _hashes(self, mapped: MappedFile, file_card: ShardCard) -> None:
        """Compare the hashes of the parts, by which opening finds damage, with the parts."""
        if file_card.tensors is None:
            return

        wrong = set(file_card.tensors) ^ set(mapped.raw)
        for name in set(mapped.raw) - wrong:
            if mapped.hash_of(name) != file_card.tensors[name]:
                wrong.add(name)
        if file_card.header != mapped.header_hash:
            wrong.add("header")
        if wrong:
            self.error(
                f"parts do not hash to their SHA-256 in {CARD_FILE}: {_some(sorted(wrong))}",
                file_card.file,
                COPY,
            )

    def _unknown_arrays(self, tensors: Mapping[str, np.ndarray], where: str) -> None:
        known = known_tensors(tensors, self.card)
        unknown = sorted(set(tensors) - known)
        if unknown:
            self.warn(f"arrays of no known use: {_some(unknown)}", where, "ignore them, or remake")

    def _ids(self, tensors: Mapping[str, np.ndarray], where: str) -> list[str] | None:
        raw = tensors.get("ids.bytes")
        offsets = tensors.get("ids.offsets")
        fit = False
        if raw is not None and offsets is not None and raw.ndim == 1:
            fit = _offsets_fit(offsets, len(raw))
        if raw is None or offsets is None or not fit:
            self.error("its sample ids are missing or their offsets do not fit", where, REMAKE)
            return None

        if wrong_texts("ids.bytes", raw, offsets) is not None:
            self.error("its sample ids are not UTF-8", where, REMAKE)
            return None

        # the ids lie end to end
        texts = Texts(np.array(raw), np.array(offsets))
        return [texts[i] for i in range(len(texts))]

    def _labels(self, tensors: Mapping[str, np.ndarray], where: str, split: str, size: int) -> None:
        labels = tensors.get("labels")
        wanted = (size, len(self.card.label_names))
        expected = f"expected uint8 of {wanted}"
        if labels is None:
            self.error(f"its labels are missing, {expected}", where, REMAKE)
            return

        if labels.shape != wanted or labels.dtype != np.uint8:
            found = f"{labels.dtype} of shape {labels.shape}"
            self.error(f"its labels are {found}, {expected}", where, REMAKE)
            return

        above = labels > 1
        wrong = int(above.sum())
        if wrong:
            self.error(f"{wrong} label values are neither 0 nor 1", where, REMAKE)

        known = tensors.get("labels.known")
        labelled = np.full(size, bool(self.card.label_names))  # (size,)
        if known is not None:
            if known.shape != (size,) or known.dtype != np.uint8 or known.max(initial=0) > 1:
                found = f"{known.dtype} of shape {known.shape}"
                self.error(
                    f"its labels.known are {found}, expected 0 or 1 as uint8 of ({size},)",
                    where,
                    REMAKE,
                )
                return
            labelled &= known.astype(np.bool_)

        claimed = labels[~labelled].sum(dtype=np.int64)
        if claimed:
            self.error(f"{claimed} labels hold in samples without labels", where, REMAKE)

        # a copy, so that the file need not stay mapped
        self.labels[split].append(np.array(labels[labelled]))

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

        # the type of values was not known before the first sample with any step
        wanted = self.card.dtype_of(modality) if len(values) else values.dtype
        if values.ndim != 2 or values.shape[1] != dim or values.dtype != wanted:
            found = f"{values.dtype} of shape {values.shape}"
            self.error(
                f"{modality} is {found}, expected {wanted} of (steps, {dim})",
                where,
                REMAKE,
            )
            return None

        total = len(values)
        if offsets.shape != (size + 1,) or not _offsets_fit(offsets, total):
            self.error(
                f"the offsets of {modality} do not run from 0 to its {total} steps over "
                f"{size} samples",
                where,
                REMAKE,
            )
            return None

        lengths = np.diff(offsets)  # (size,)
        present = lengths > 0
        self.present[modality] += int(present.sum())
        if split == "train":
            self.in_train[modality] += int(present.sum())

        lacking = tensors.get(f"{modality}.missing")
        if lacking is not None and not self._missing(lacking, offsets, where, modality):
            return None
        if self.deep:
            self._values(values, lacking, where, split, modality)
        return lengths

    def _missing(
        self, lacking: np.ndarray, offsets: np.ndarray, where: str, modality: Modality
    ) -> bool:
        """Check the marks of missing steps of a modality; return whether they can be used."""
        total = int(offsets[-1])
        if lacking.shape != (total,) or lacking.dtype != np.uint8 or lacking.max(initial=0) > 1:
            found = f"{lacking.dtype} of shape {lacking.shape}"
            self.error(
                f"the missing steps of {modality} are {found}, expected 0 or 1 as uint8 of "
                f"({total},)",
                where,
                REMAKE,
            )
            return False
        if not self.card.aligned:
            self.error(f"{modality} lacks steps of unaligned samples", where, REMAKE)

        # counts up to each step, from 0
        before = np.concatenate([[0], np.cumsum(lacking, dtype=np.int64)])
        lacked = np.diff(before[offsets])  # (size,)
        lengths = np.diff(offsets)
        nothing = (lengths > 0) & (lacked == lengths)
        if nothing.any():
            count = int(nothing.sum())
            self.error(f"{modality} lacks every step of {count} samples", where, REMAKE)
        return True

    def _values(
        self,
        values: np.ndarray,
        lacking: np.ndarray | None,
        where: str,
        split: str,
        modality: Modality,
    ) -> None:
        dim = values.shape[1]
        features = self.features.setdefault(modality, _Features(dim))
        damaged: Bool[np.ndarray, "dim"] = np.zeros(dim, bool)
        count = 0
        at_missing = 0
        for start in range(0, len(values), BLOCK_ROWS):
            end = start + BLOCK_ROWS
            block = values[start:end].astype(np.float64)
            if lacking is not None:
                missing = lacking[start:end].astype(np.bool_)
                at_missing += int(np.count_nonzero(block[missing]))
                block = block[~missing]

            finite = np.isfinite(block)  # (rows, dim)
            if not finite.all():
                bad = ~finite
                count += int(bad.sum())
                damaged |= bad.any(0)

            # a damaged row would make its statistics NaN
            whole = block[finite.all(1)]
            if len(whole):
                features.add(whole, train=split == "train")

        if at_missing:
            self.error(
                f"{at_missing} values of missing steps of {modality} are not 0", where, REMAKE
            )
        if count:
            which = np.nonzero(damaged)[0].tolist()
            self.error(
                f"{count} values of {modality} are not finite, in features {_some(which)}",
                where,
                "convert the data again: importing replaces such values by 0",
            )

    def _lengths(
        self, lengths: Mapping[Modality, np.ndarray], ids: list[str] | None, where: str
    ) -> None:
        steps = np.stack(list(lengths.values()), axis=1)  # (samples, modalities)
        most = steps.max(1)  # (samples,)
        nothing = most == 0
        if nothing.any():
            which = _which(nothing, ids)
            self.error(f"samples without any modality: {which}", where, REMAKE)

        if not self.card.aligned:
            return

        # a missing modality fits any number of steps
        present = np.where(steps > 0, steps, most[:, None])
        uneven = present.min(1) != most
        if uneven.any():
            which = _which(uneven, ids)
            self.error(
                f"aligned samples whose modalities differ in steps: {which}",
                where,
                "convert the data as unaligned, or align it to words first",
            )

    def _splits(self) -> None:
        for split, card in self.card.splits.items():
            where = f"split {split}"
            if not card.samples or not card.shards:
                self.error("the split is empty", where, "leave it out, or convert the data again")

            # counts of a damaged split cannot be right
            if split not in self.damaged:
                self._counts(split, card)

        if not self.card.splits:
            self.error("there are no splits", CARD_FILE, REMAKE)
        elif "train" not in self.card.splits:
            self.warn(
                "there is no split 'train'", CARD_FILE, "it can be evaluated, but not trained on"
            )

    def _counts(self, split: str, card: SplitCard) -> None:
        """Compare what the card says of a split with what its shards hold."""
        where = f"split {split}"
        found = len(self.ids[split])
        if found != card.samples:
            self.error(
                f"it holds {found} samples, {CARD_FILE} says {card.samples}",
                where,
                REMAKE,
            )

        labels = self._all_labels(split)
        held = labels.sum(0, dtype=np.int64).tolist()
        counts = dict(zip(self.card.label_names, held, strict=True))
        known = found if card.labelled is None else card.labelled
        if not self.card.label_names:
            known = 0
        if len(labels) != known:
            self.error(
                f"the labels of {len(labels)} samples are known, {CARD_FILE} says {known}",
                where,
                REMAKE,
            )
        if counts != card.label_counts:
            self.error(
                f"its labels count {counts}, {CARD_FILE} says {card.label_counts}",
                where,
                REMAKE,
            )

    def _all_labels(self, split: str) -> UInt8[np.ndarray, "n labels"]:
        # also of a split of which no shard could be read
        empty = np.zeros((0, len(self.card.label_names)), np.uint8)
        return np.concatenate([empty, *self.labels[split]])

    def _identity(self) -> None:
        splits_of: defaultdict[str, list[str]] = defaultdict(list)
        for split, ids in self.ids.items():
            for sample_id in ids:
                splits_of[sample_id].append(split)

        # also those that occur twice in one split
        twice = []
        within = set()
        for sample_id, splits in splits_of.items():
            if len(splits) > 1:
                twice.append(sample_id)
                within.update(splits)

        if twice:
            self.error(
                f"{len(twice)} sample ids occur more than once: {_some(twice)}",
                f"splits {', '.join(sorted(within))}",
                "give every sample an id of its own, and each to one split",
            )
        self._leaks()

    def _leaks(self) -> None:
        """Warn of videos with segments in two splits."""
        known = Videos(chain.from_iterable(self.ids.values()))
        videos = {}
        for split, ids in self.ids.items():
            videos[split] = {known.of(sample_id) for sample_id in ids}

        if known.doubt is not None:
            self.warn(
                known.doubt, "all splits", "write ids as video[number] where they are segments"
            )

        for one, other in combinations(videos, 2):
            shared = sorted(videos[one] & videos[other])
            if not shared:
                continue

            self.warn(
                f"segments of {len(shared)} videos are in both: {_some(shared)}",
                f"splits {one} and {other}",
                "split by video, or results will look better than they are",
            )

    def _label_balance(self) -> None:
        labels = self._all_labels("train")
        samples = len(labels)
        if not samples or "train" in self.damaged:
            return  # nothing can be said of labels that are wrong

        held = labels > 0
        counts = held.sum(0).tolist()
        for name, count in zip(self.card.label_names, counts, strict=True):
            if 0 < count < samples:
                continue

            how_often = "always" if count else "never"
            self.warn(
                f"label {name!r} {how_often} holds",
                "split train",
                "leave the label out: nothing can be learned about it",
            )

    def _modalities(self) -> None:
        # a modality may lie in the part of the data that could not be read
        if not self.damaged:
            for m in self.card.dims:
                if not self.present[m]:
                    self.warn("no sample has it", m, "leave the modality out")
                elif "train" in self.ids and not self.in_train[m]:
                    self.warn(
                        "no sample of the split train has it",
                        m,
                        "no model can learn from it: leave it out, or check the source",
                    )

        for m, seen in self.features.items():
            same = seen.low == seen.high  # (dim,)
            constant = np.nonzero(same)[0].tolist()
            if not constant:
                continue

            total = self.card.dims[m]
            self.warn(
                f"{len(constant)} of {total} features are constant: {_some(constant)}",
                m,
                "harmless; check the extraction if you expected them to vary",
            )

    def _statistics(self) -> None:
        if self.card.statistics is None:
            if "train" in self.card.splits:
                self.error("there are no feature statistics", CARD_FILE, REMAKE)
            return

        mapped = self._map(self.card.statistics)
        if mapped is None:
            return

        stored = mapped.tensors
        where = self.card.statistics.file
        for m, dim in self.card.dims.items():
            mean = stored.get(f"{m}.mean")
            std = stored.get(f"{m}.std")
            if mean is None or std is None or mean.shape != (dim,) or std.shape != (dim,):
                self.error(f"mean or standard deviation of {m} are missing", where, REMAKE)
                continue

            # there is nothing to compare with where features were not read, or not all of them
            seen = self.features.get(m)
            if seen is None or "train" in self.damaged:
                continue

            wrong = _differing(seen, mean, std)
            if wrong:
                self.error(
                    f"statistics of {m} are not those of the training split in "
                    f"{len(wrong)} features: {_some(wrong)}",
                    where,
                    REMAKE,
                )

    def _unknown_files(self) -> None:
        known = {CARD_FILE}
        for attachment in self.card.attachments:
            known.add(attachment.file)
        if self.card.statistics is not None:
            known.add(self.card.statistics.file)
        for split in self.card.splits.values():
            known.update(shard.file for shard in split.shards)

        present = {path.name for path in self.folder.iterdir()}
        unknown = sorted(present - known)
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
    # relative to how much the feature varies, which may be nothing
    least = np.abs(seen.mean) * 1e-3
    spread = np.maximum(seen.std, least) + 1e-12

    off_mean = np.abs(mean - seen.mean)
    off_std = np.abs(std - seen.std)
    off = np.maximum(off_mean, off_std) / spread
    right = off <= TOLERANCE  # NaN is wrong too
    return np.nonzero(~right)[0].tolist()


def _which(rows: np.ndarray, ids: list[str] | None) -> str:
    """Name the first samples where ``rows`` is True: by id, or by number where ids are lost."""
    positions = np.nonzero(rows)[0].tolist()
    if ids is None:
        return _some([f"number {i}" for i in positions])
    return _some([ids[i] for i in positions])


def _offsets_fit(offsets: np.ndarray, total: int) -> bool:
    if offsets.dtype != np.int64 or offsets.ndim != 1:
        return False
    return wrong_offsets("offsets", offsets, total) is None


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
    if not is_there(folder / CARD_FILE):
        read_card(folder)  # says that there is none

    # a damaged card is a finding, too, and if it can be read there may be more
    found = []
    try:
        card = read_card(folder)
    except DataError as error:
        fix = error.fix or REMAKE
        found.append(Problem("error", error.found, CARD_FILE, fix))
        altered = _altered_card(folder)
        if altered is None:
            return found
        card = altered

    validator = _Validator(folder, card, deep=deep)
    return found + validator.run()


def _altered_card(folder: Path) -> DatasetCard | None:
    """Return a card whose hash is wrong or missing; None where nothing can be made of it."""
    try:
        values = json.loads((folder / CARD_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None

    values.pop(HASH_KEY, None)
    try:
        return DatasetCard.model_validate(values)
    except ValidationError:
        return None
