"""Encoding the samples of a source: as a stream, in bounded memory, and to be gone on with.

Vectors are computed for some hundred samples at a time and kept in a folder of parts until the data
set is complete. The name of a part says of what it is: a hash over the encoder's fingerprint and
the words. So a second run finds what an earlier one has computed, whichever way that one ended, and
anything else is computed anew.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress, pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save_file

from emotailor.data.sample import TRANSCRIPT, Sample
from emotailor.encoders.base import Encoded, TextEncoder
from emotailor.encoders.words import LONGEST, words_of
from emotailor.errors import ConfigError, DataError
from emotailor.files import remove_written, write_hashed
from emotailor.folders import FolderKind, has_format
from emotailor.text import plural

CHUNK_TEXTS = 512
CHUNK_WORDS = 16_384
"""What is computed and kept at a time, at most; a single text may have more words."""

FOLDER = FolderKind(
    name="folder of encoded parts",
    marker="encoding.json",
    recognises=has_format("emotailor-encoding"),
    writes=("encoding.json", "part-*.safetensors"),
    signs=("encoding.json",),
    error=ConfigError,
)

Item = tuple[str, Sample]
"""A split, and a sample of it."""


def parts_beside(output: Path) -> Path:
    """Return the folder in which the parts of a data set are kept until it is complete."""
    return output.with_name(f"{output.name}.encoding")


class SampleEncoder:
    """Gives samples the vectors of their words.

    Args:
        encoder: makes them.
        aligned: whether words without a vector stay as missing steps; else they are left out.
        parts: folder to keep what is computed in; None to keep nothing.
    """

    def __init__(self, encoder: TextEncoder, *, aligned: bool, parts: Path | None = None) -> None:
        if parts is not None:
            FOLDER.check(parts)
        self._encoder = encoder
        self._aligned = aligned
        self._parts = parts
        self._counts: Counter[str] = Counter()

    def samples(self, given: Iterable[Item]) -> Iterator[Item]:
        """Yield samples with the sequence ``text``, in their order; one without words has none.

        Args:
            given: samples with words, or with a text under ``transcript``.

        Raises:
            DataError: a sample has more words than any utterance, or the encoder yields NaN.
            OSError: a part cannot be kept.
        """
        for chunk in _chunks(given):
            # a sample without words keeps its place among the others
            texts = [words for _, _, words in chunk if words]
            found = iter(self._encoded(texts))
            for split, sample, words in chunk:
                encoded = next(found) if words else None
                yield split, self._with_vectors(sample, encoded)

    def notes(self) -> list[str]:
        """Say what was encoded, and what there is to know of it; complete after ``samples``."""
        name = self._encoder.extraction.extractor
        fate = "missing steps" if self._aligned else "left out"
        what_of = {
            "unknown": ("word", f"without a vector: {fate}"),
            "strange": ("word", f"unknown to {name}, some of them in part alone"),
            "long": ("text", f"longer than {name} reads at once: encoded in windows that overlap"),
            "reused": ("sample", "encoded by an earlier run"),
        }

        words = plural(self._counts["words"], "word")
        lines = [f"text was encoded with {name}: {words}"]
        for key, (what, told) in what_of.items():
            count = self._counts[key]
            if count:
                lines.append(f"{plural(count, what)} {told}")
        return lines

    def discard(self) -> None:
        """Remove the parts: the data set is complete."""
        if self._parts is not None and self._parts.is_dir() and FOLDER.owns(self._parts):
            remove_written(self._parts, ("part-*.safetensors", FOLDER.marker))

    # ------------------------------------------------------------------ samples

    def _with_vectors(self, sample: Sample, encoded: Encoded | None) -> Sample:
        if encoded is None:
            return replace(sample, words=None)

        self._count(encoded)
        known = encoded.known
        vectors = encoded.vectors.astype(np.float16)
        missing = dict(sample.missing)
        times = dict(sample.times)

        # the only step of a whole text is no word
        words: list[str] | None = None
        if self._encoder.pooling == "words":
            words = encoded.words

        # step i is word i in every modality, or else steps that lack nothing
        if self._aligned and not known.all():
            missing["text"] = ~known
        elif not self._aligned:
            vectors = vectors[known]
            if words is not None:
                words = list(compress(words, known))
                if "text" in times:
                    times["text"] = times["text"][known]

        sequences = {**sample.sequences, "text": vectors}
        return replace(sample, sequences=sequences, missing=missing, words=words, times=times)

    def _count(self, encoded: Encoded) -> None:
        self._counts["words"] += len(encoded.words)
        self._counts["strange"] += encoded.strange
        self._counts["long"] += encoded.windows > 1
        if self._encoder.pooling == "words":
            self._counts["unknown"] += int(np.count_nonzero(~encoded.known))

    # ------------------------------------------------------------------ parts

    def _encoded(self, texts: Sequence[list[str]]) -> list[Encoded]:
        """Return the vectors of texts, kept ones where there are any."""
        if not texts:
            return []
        if self._parts is None:
            return self._encoder.encode(texts)

        key = _key(self._encoder, texts)
        found = _read_part(self._parts, key, texts)
        if found is not None:
            self._counts["reused"] += len(texts)
            return found

        encoded = self._encoder.encode(texts)
        FOLDER.mark(self._parts, {"format": "emotailor-encoding", "schema_version": 2})
        _write_part(self._parts, key, encoded)
        return encoded


def said_in(sample: Sample) -> list[str]:
    """Return the words that are said in a sample; none where nobody knows."""
    if sample.words is not None:
        return list(sample.words)
    return words_of(sample.about.get(TRANSCRIPT, ""))


def _chunks(given: Iterable[Item]) -> Iterator[list[tuple[str, Sample, list[str]]]]:
    """Yield samples and their words in lists that are computed at once."""
    chunk: list[tuple[str, Sample, list[str]]] = []
    total = 0
    for split, sample in given:
        words = said_in(sample)
        count = len(words)
        if count > LONGEST:
            raise DataError(
                f"sample {sample.id!r} has {count:,} words",
                expected=f"at most {LONGEST:,}: a sample is an utterance",
                fix="divide the text into sentences, one a row",
            )
        if chunk and (len(chunk) == CHUNK_TEXTS or total + count > CHUNK_WORDS):
            yield chunk
            chunk = []
            total = 0
        chunk.append((split, sample, words))
        total += count
    if chunk:
        yield chunk


def _key(encoder: TextEncoder, texts: Sequence[list[str]]) -> str:
    """Return what a part is called: 16 digits over the encoder and the words."""
    content = json.dumps([encoder.extraction.fingerprint, texts])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _write_part(folder: Path, key: str, encoded: Sequence[Encoded]) -> None:
    """Keep the vectors of some texts; float16, as the data set will have them."""
    # all texts end to end, as in a shard
    values = np.concatenate([one.vectors for one in encoded])
    known = np.concatenate([one.known for one in encoded])
    lengths = [len(one.vectors) for one in encoded]

    arrays: dict[str, np.ndarray] = {
        "values": values.astype(np.float16),
        "known": known.astype(np.uint8),
        "offsets": np.cumsum([0, *lengths]),
        "strange": np.array([one.strange for one in encoded]),
        "windows": np.array([one.windows for one in encoded]),
    }

    def write(file: Path) -> None:
        save_file(arrays, file)

    write_hashed(folder, f"part-{key}", ".safetensors", write)


def _read_part(folder: Path, key: str, texts: Sequence[list[str]]) -> list[Encoded] | None:
    """Return the kept vectors of some texts; None where there are none, or they are damaged."""
    for file in folder.glob(f"part-{key}-*.safetensors"):
        content = file.read_bytes()

        # what a disk or somebody else has changed is computed anew
        digest = hashlib.sha256(content).hexdigest()
        if file.stem == f"part-{key}-{digest[:12]}":
            return _unpacked(load(content), texts)
    return None


def _unpacked(arrays: Mapping[str, np.ndarray], texts: Sequence[list[str]]) -> list[Encoded]:
    """Return the vectors of some texts, given what a part holds."""
    values = arrays["values"].astype(np.float32)
    known = arrays["known"].astype(np.bool_)
    strange = arrays["strange"].tolist()
    windows = arrays["windows"].tolist()

    encoded = []
    for place, (first, end) in enumerate(pairwise(arrays["offsets"].tolist())):
        own = slice(first, end)
        one = Encoded(texts[place], values[own], known[own], strange[place], windows[place])
        encoded.append(one)
    return encoded
