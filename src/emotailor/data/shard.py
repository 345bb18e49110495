"""The tensors of a shard: how samples become arrays in a file, and arrays become samples again.

``docs/data.md`` describes them. What a shard does not need, such as marks of missing steps where
none is missing, is not in it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from emotailor.data.card import CARD_FILE, DatasetCard, ShardCard
from emotailor.data.checker import SampleChecker
from emotailor.data.dataset import Ragged, Shard, Texts, Words, pack_labels
from emotailor.data.sample import Modality, Sample
from emotailor.data.tensors import AGAIN, MappedFile, damaged, map_file
from emotailor.errors import DataError
from emotailor.text import NAME, is_name
from emotailor.verified import verify_file

_FLOATS = (np.float32, np.float16)
_ABOUT = "about."


class StoredShard(NamedTuple):
    """What a shard holds of its samples."""

    ids: list[str]
    labels: UInt8[np.ndarray, "n labels"]
    known: Bool[np.ndarray, "n"] | None
    shard: Shard


def shard_tensors(samples: Sequence[Sample], checker: SampleChecker) -> dict[str, np.ndarray]:
    """Return the arrays of a shard by name; the samples are checked ones."""
    shard = Shard.pack(samples, checker)
    ids = Texts.pack(sample.id for sample in samples)
    labels, known = pack_labels(samples, len(checker.label_names))

    tensors = {"ids.bytes": ids.data, "ids.offsets": ids.offsets, "labels": labels}
    if known is not None:
        tensors["labels.known"] = known.view(np.uint8)

    for m, ragged in shard.sequences.items():
        tensors[f"{m}.values"] = ragged.values
        tensors[f"{m}.offsets"] = ragged.offsets
        if ragged.missing is not None:
            tensors[f"{m}.missing"] = ragged.missing.view(np.uint8)
        if ragged.times is not None:
            tensors[f"{m}.times"] = ragged.times

    words = shard.words
    if words is not None:
        tensors["words.bytes"] = words.texts.data
        tensors["words.offsets"] = words.texts.offsets
        tensors["words.samples"] = words.offsets
    for name, texts in shard.about.items():
        tensors[f"{_ABOUT}{name}.bytes"] = texts.data
        tensors[f"{_ABOUT}{name}.offsets"] = texts.offsets
    return tensors


def shard_card(file: Path, samples: int, sha256: str) -> ShardCard:
    """Return the card of a shard that was written, with the hashes of its parts."""
    mapped = map_file(file)
    hashes = {}
    for name in sorted(mapped.raw):
        hashes[name] = mapped.hash_of(name)

    return ShardCard(
        file=file.name, sha256=sha256, samples=samples, header=mapped.header_hash, tensors=hashes
    )


def open_shard(folder: Path, card: DatasetCard, own: ShardCard) -> StoredShard:
    """Map a shard; everything but its features is compared with its hashes and read.

    Features are compared when they are first used. Where the card has no hashes of the parts, as
    in version 1, the whole file is compared now.

    Raises:
        DataError: the file is missing or damaged, or its arrays do not fit the card.
    """
    file = folder / own.file
    mapped = map_file(file)
    if own.tensors is None:
        verify_file(file, own.sha256, fix=AGAIN)
    else:
        _verify_parts(mapped, own)

    found = Layout(mapped.tensors, card)
    if found.misfit is not None:
        raise DataError(
            f"{file} does not fit {CARD_FILE}: {found.misfit}",
            fix="run `emotailor data validate` for details, or convert the data again",
        )
    return _read(mapped, card, own)


def _verify_parts(mapped: MappedFile, own: ShardCard) -> None:
    """Compare all parts but the features with their hashes.

    Raises:
        DataError: one has another, or there are other parts.
    """
    assert own.tensors is not None
    if own.header is not None:
        mapped.check_header(own.header)
    if set(own.tensors) != set(mapped.tensors):
        raise damaged(mapped.path, "its tensors do not have")

    for name, sha256 in own.tensors.items():
        if not name.endswith(".values"):
            check = mapped.check(name, sha256)
            check()


def _read(mapped: MappedFile, card: DatasetCard, own: ShardCard) -> StoredShard:
    """Return what a shard holds, whose arrays are known to fit."""
    tensors = mapped.tensors
    texts = Texts(tensors["ids.bytes"], tensors["ids.offsets"])
    ids = [texts[i] for i in range(len(texts))]

    # what is small and asked for all the time is copied; values stay on disk
    sequences = {}
    for m in card.dims:
        check = None
        if own.tensors is not None:
            check = mapped.check(f"{m}.values", own.tensors[f"{m}.values"])
        missing = tensors.get(f"{m}.missing")
        sequences[m] = Ragged(
            values=tensors[f"{m}.values"],
            offsets=np.array(tensors[f"{m}.offsets"]),
            missing=None if missing is None else missing.astype(np.bool_),
            times=tensors.get(f"{m}.times"),
            check=check,
        )

    words = None
    if "words.bytes" in tensors:
        every = Texts(tensors["words.bytes"], tensors["words.offsets"])
        words = Words(every, tensors["words.samples"])
    about = {}
    for name in about_names(tensors):
        about[name] = Texts(tensors[f"{_ABOUT}{name}.bytes"], tensors[f"{_ABOUT}{name}.offsets"])

    known = tensors.get("labels.known")
    if known is None and not card.label_names:
        known = np.zeros(len(ids), np.uint8)  # with no label to be known, nothing is known
    return StoredShard(
        ids=ids,
        labels=np.array(tensors["labels"]),
        known=None if known is None else known.astype(np.bool_),
        shard=Shard(sequences, len(ids), words, about),
    )


def about_names(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the texts beside samples, such as ``source``."""
    keys = [key for key in tensors if key.startswith(_ABOUT) and key.endswith(".bytes")]
    return sorted(key.removeprefix(_ABOUT).removesuffix(".bytes") for key in keys)


def known_tensors(tensors: Mapping[str, np.ndarray], card: DatasetCard) -> set[str]:
    """Return the names of the arrays that a shard of this data set may have."""
    known = {"ids.bytes", "ids.offsets", "labels", "labels.known"}
    known |= {"words.bytes", "words.offsets", "words.samples"}
    for m in card.dims:
        known |= {f"{m}.{part}" for part in ("values", "offsets", "missing", "times")}
    for name in about_names(tensors):
        known |= {f"{_ABOUT}{name}.bytes", f"{_ABOUT}{name}.offsets"}
    return known


class Layout:
    """Whether the arrays of a shard fit each other and the card.

    Each check relies on those before it.

    Attributes:
        misfit: what does not fit; None where everything does.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], card: DatasetCard) -> None:
        self._tensors = tensors
        self._card = card
        checks = (self._types, self._ids, self._labels, self._sequences, self._words, self._about)

        self.misfit: str | None = None
        for check in checks:
            self.misfit = check()
            if self.misfit is not None:
                return

    def _types(self) -> str | None:
        """Say which array is missing or of another type."""
        for key, (kinds, ndim) in self._required().items():
            if key not in self._tensors:
                return f"it has no {key}"
            misfit = self._wrong_type(key, kinds, ndim)
            if misfit is not None:
                return misfit

        for key, (kinds, ndim) in self._optional().items():
            if key in self._tensors:
                misfit = self._wrong_type(key, kinds, ndim)
                if misfit is not None:
                    return misfit
        return None

    def _required(self) -> dict[str, tuple[tuple[type, ...], int]]:
        """Return possible types and number of dimensions of every array that must be there."""
        required: dict[str, tuple[tuple[type, ...], int]] = {
            "labels": ((np.uint8,), 2),
            "ids.bytes": ((np.uint8,), 1),
            "ids.offsets": ((np.int64,), 1),
        }
        for m in self._card.dims:
            required[f"{m}.offsets"] = ((np.int64,), 1)
        for m in self._card.dims:
            required[f"{m}.values"] = (self._floats(f"{m}.values", m), 2)

        # texts come with their offsets
        if "words.bytes" in self._tensors:
            required["words.bytes"] = ((np.uint8,), 1)
            required["words.offsets"] = ((np.int64,), 1)
            required["words.samples"] = ((np.int64,), 1)
        for name in about_names(self._tensors):
            required[f"{_ABOUT}{name}.bytes"] = ((np.uint8,), 1)
            required[f"{_ABOUT}{name}.offsets"] = ((np.int64,), 1)
        return required

    def _optional(self) -> dict[str, tuple[tuple[type, ...], int]]:
        optional: dict[str, tuple[tuple[type, ...], int]] = {"labels.known": ((np.uint8,), 1)}
        for m in self._card.dims:
            optional[f"{m}.missing"] = ((np.uint8,), 1)
            optional[f"{m}.times"] = ((np.float64,), 2)
        return optional

    def _floats(self, key: str, modality: Modality) -> tuple[type, ...]:
        """Return the types that values may have."""
        values = self._tensors.get(key)
        if values is not None and not len(values):
            return _FLOATS  # the type was not known before the first sample with any step
        return (np.dtype(self._card.dtype_of(modality)).type,)

    def _wrong_type(self, key: str, kinds: tuple[type, ...], ndim: int) -> str | None:
        array = self._tensors[key]
        if array.dtype.type in kinds and array.ndim == ndim:
            return None

        found = f"{array.dtype} of shape {array.shape}"
        expected = f"{np.dtype(kinds[0])} of {ndim} dimensions"
        return f"{key} is {found}, expected {expected}"

    def _texts(self, key: str) -> str | None:
        """Say why texts are not UTF-8 between their offsets."""
        data = self._tensors[f"{key}.bytes"]
        offsets = self._tensors[f"{key}.offsets"]
        misfit = wrong_offsets(f"{key}.offsets", offsets, len(data))
        if misfit is not None:
            return misfit
        return wrong_texts(f"{key}.bytes", data, offsets)

    def _ids(self) -> str | None:
        misfit = self._texts("ids")
        if misfit is not None:
            return misfit

        ids = Texts(self._tensors["ids.bytes"], self._tensors["ids.offsets"])
        strange = [ids[i] for i in range(len(ids)) if not is_name(ids[i])]
        if strange:
            return f"ids holds {strange[0]!r}, expected {NAME}"
        return None

    @property
    def _samples(self) -> int:
        return len(self._tensors["ids.offsets"]) - 1

    def _labels(self) -> str | None:
        labels = self._tensors["labels"]
        wanted = (self._samples, len(self._card.label_names))
        if labels.shape != wanted:
            return f"labels has shape {labels.shape}, expected {wanted}"

        known = self._tensors.get("labels.known")
        if known is not None and known.shape != wanted[:1]:
            return f"labels.known has shape {known.shape}, expected {wanted[:1]}"

        for key in ("labels", "labels.known"):
            values = self._tensors.get(key)
            if values is not None and values.max(initial=0) > 1:
                return f"{key} holds {values.max()}, expected 0 and 1"
        return None

    def _sequences(self) -> str | None:
        for m, dim in self._card.dims.items():
            values = self._tensors[f"{m}.values"]  # (steps, dim)
            steps, width = values.shape
            if width != dim:
                return f"{m}.values has shape {values.shape}, expected (steps, {dim})"

            misfit = self._borders(f"{m}.offsets", self._samples, steps)
            if misfit is None:
                misfit = self._beside(f"{m}.missing", (steps,))
            if misfit is None:
                misfit = self._beside(f"{m}.times", (steps, 2))
            if misfit is not None:
                return misfit
        return None

    def _borders(self, key: str, parts: int, total: int) -> str | None:
        """Say why offsets do not divide ``total`` into ``parts``."""
        offsets = self._tensors[key]
        wanted = parts + 1  # each begins where the one before it ends
        if len(offsets) != wanted:
            return f"{key} has {len(offsets)} numbers, expected {wanted}"
        return wrong_offsets(key, offsets, total)

    def _beside(self, key: str, wanted: tuple[int, ...]) -> str | None:
        """Say why what lies beside the steps does not fit them."""
        array = self._tensors.get(key)
        if array is None:
            return None
        if array.shape != wanted:
            return f"{key} has shape {array.shape}, expected {wanted}"
        if array.dtype == np.uint8 and array.max(initial=0) > 1:
            return f"{key} holds {array.max()}, expected 0 and 1"
        return None

    def _words(self) -> str | None:
        if "words.bytes" not in self._tensors:
            return None

        misfit = self._texts("words")
        if misfit is not None:
            return misfit
        words = len(self._tensors["words.offsets"]) - 1
        misfit = self._borders("words.samples", self._samples, words)
        if misfit is not None:
            return misfit

        # a sample has as many words as steps, or none
        counts = np.diff(self._tensors["words.samples"])
        lengths = [np.diff(self._tensors[f"{m}.offsets"]) for m in self._worded()]
        steps = np.max([np.zeros_like(counts), *lengths], axis=0)
        uneven = (counts > 0) & (counts != steps)
        if uneven.any():
            first = int(np.flatnonzero(uneven)[0])
            return f"words.samples has {counts[first]} words for {steps[first]} steps"
        return None

    def _worded(self) -> list[Modality]:
        """Return the modalities whose steps are words."""
        if self._card.aligned:
            return list(self._card.dims)
        return [m for m in self._card.dims if m == "text"]

    def _about(self) -> str | None:
        for name in about_names(self._tensors):
            misfit = self._texts(f"{_ABOUT}{name}")
            if misfit is not None:
                return misfit
            texts = len(self._tensors[f"{_ABOUT}{name}.offsets"]) - 1
            if texts != self._samples:
                return f"{_ABOUT}{name} has {texts} texts, expected {self._samples}"
        return None


def wrong_offsets(key: str, offsets: np.ndarray, total: int) -> str | None:
    """Say why offsets do not run from 0 to ``total``; None where they do."""
    if not len(offsets) or offsets[0] != 0:
        return f"{key} does not begin with 0"
    last = offsets[-1]
    if last != total:
        return f"{key} ends with {last}, expected {total}"

    # equal neighbours are a sequence without steps
    steps = np.diff(offsets)
    if (steps < 0).any():
        return f"{key} falls, expected numbers that only rise"
    return None


def wrong_texts(key: str, data: np.ndarray, offsets: np.ndarray) -> str | None:
    """Say why bytes are not UTF-8 between offsets that fit; None where they are."""
    try:
        data.tobytes().decode()
    except UnicodeDecodeError as error:
        return f"{key} is not UTF-8: {error}"

    # no text may begin within a character
    starts = offsets[offsets < len(data)]
    within = (data[starts] & 0xC0) == 0x80
    if within.any():
        return f"{key} is not UTF-8: a text begins within a character"
    return None
