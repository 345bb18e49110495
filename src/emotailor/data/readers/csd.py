"""A folder of CMU-MultimodalSDK ``.csd`` files: raw features per video, cut into segments.

Segments are the intervals of the label file. Aligned, a step is a word: the other modalities are
averaged over the features that overlap it in time, and are zero where none does. Unaligned, a
segment holds each modality's own features that overlap it.
"""

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from emotailor.data.readers._common import (
    ConvertOptions,
    Reading,
    as_float32,
    canonical_split,
    require_file,
    unreadable,
)
from emotailor.data.readers._csd import Csd
from emotailor.data.readers._labels import Segment, read_label_table
from emotailor.data.sample import MODALITIES, Modality, Sample, video_of
from emotailor.errors import DataError

_ROLES = {
    "labels": re.compile(r"label|opinion", re.I),
    "visual": re.compile(r"openface|facet|visual|vision", re.I),
    "audio": re.compile(r"covarep|opensmile|acoustic|audio", re.I),
    "text": re.compile(r"glove|word|bert|text", re.I),
}
Source = Path | Mapping[str, Path]


def read_csd(source: Source, options: ConvertOptions) -> Reading:
    """Open a folder of ``.csd`` files, or one file per role (visual, audio, text, labels).

    Raises:
        DataError: a file is missing, damaged, or of no or the same role as another; there are no
            labels or folds; or alignment is asked for without a text file.
    """
    where = source if isinstance(source, Path) else Path(next(iter(source.values())))
    notes: list[str] = []
    roles = _roles_in(source, notes) if isinstance(source, Path) else _explicit(source)
    labels = options.labels or roles.get("labels")
    if labels is None:
        raise DataError(
            f"{where}: no label file",
            expected="a file such as CMU_MOSEI_Labels.csd among the .csd files",
            fix="add it, or pass --labels with it or a CSV of segments",
        )
    align = options.align is not False
    if align and "text" not in roles:
        raise DataError(
            f"{where}: no text to align to",
            expected="a file such as CMU_MOSEI_TimestampedWordVectors.csd",
            fix="add it, or convert as unaligned",
        )
    table = read_label_table(labels, options)
    notes += [*table.notes, options.rule]
    folds = _Folds(options, notes, where)
    with ExitStack() as stack:
        files = {m: stack.enter_context(Csd(roles[m])) for m in MODALITIES if m in roles}
        dims = {m: csd.dim for m, csd in files.items()}
        if not dims or None in dims.values():
            raise DataError(
                f"{where}: no features, or features that are not numbers, in {list(dims) or where}",
                expected="numeric features for at least one of visual, audio and text",
            )
        kept_open = stack.pop_all()

    def samples() -> Iterator[tuple[str, Sample]]:
        dropped: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        with kept_open:
            cutter = _Cutter(files)
            for segment in table.segments:
                split = folds.split_of(segment)
                if split is None or segment.span is None:
                    dropped["are in no fold" if split is None else "have no start and end"] += 1
                    continue
                if options.limit is not None and taken[split] >= options.limit:
                    continue
                if align and not cutter.words(segment, segment.span):
                    dropped["have no word in the text file"] += 1
                    continue
                taken[split] += 1
                cut = cutter.aligned if align else cutter.unaligned
                yield split, Sample(segment.key, cut(segment, segment.span), segment.labels)
        notes.extend(f"{n} segments {what} and were dropped" for what, n in dropped.items())
        notes.extend(
            f"{files[m].path.name}: {len(keys)} segments start after its last interval"
            for m, keys in cutter.beyond.items()
            if keys
        )
        notes.extend(
            f"{csd.path.name}: {csd.bad_intervals} rows with a negative, reversed or non-finite "
            "interval ignored"
            for csd in files.values()
            if csd.bad_intervals
        )

    used = [*(csd.path for csd in files.values()), labels]
    used += [options.folds] if options.folds else []
    widths = {m: int(d or 0) for m, d in dims.items()}
    return Reading(table.names, widths, align, samples(), used, notes)


def _explicit(source: Mapping[str, Path]) -> dict[str, Path]:
    if unknown := sorted(set(source) - set(_ROLES)):
        raise DataError(f"unknown roles {unknown}", expected=f"some of {', '.join(_ROLES)}")
    return dict(source)


def _roles_in(folder: Path, notes: list[str]) -> dict[str, Path]:
    """Find out by root and file name which file plays which role."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder",
            expected="a folder of .csd files, among them one with labels",
        )
    roles: dict[str, Path] = {}
    for path in sorted(folder.glob("*.csd")):
        with Csd(path) as csd:
            names, numeric = (csd.root, path.stem), csd.dim is not None
        role = next((r for n in names for r, known in _ROLES.items() if known.search(n)), None)
        if role is None or not numeric:
            why = "its features are not numbers" if role else f"unknown root {names[0]!r}"
            notes.append(f"{path.name} was not used: {why}")
            continue
        if role in roles:
            raise DataError(
                f"{folder} has two files for {role}: {roles[role].name} and {path.name}",
                expected="one file per role",
                fix="keep one in the folder, or name the file of each role",
            )
        roles[role] = path
    if not roles:
        raise DataError(f"{folder} has no .csd file of a known role", expected=", ".join(_ROLES))
    return roles


class _Cutter:
    """Cuts segments out of the entries of videos; keeps the last entry of each file at hand."""

    def __init__(self, files: Mapping[Modality, Csd]) -> None:
        self._files = files
        self._last: dict[Modality, tuple[str, tuple[np.ndarray, np.ndarray]]] = {}
        self.beyond: dict[Modality, set[str]] = {m: set() for m in files}

    def _within(
        self, m: Modality, segment: Segment, span: tuple[float, float]
    ) -> tuple[Float64[np.ndarray, "n dim"], Float64[np.ndarray, "n 2"]] | None:
        """Return features and intervals that overlap the segment; None where there are none."""
        csd = self._files[m]
        key = next((k for k in (segment.key, segment.video) if k in csd), None)
        if key is None:
            return None
        if self._last.get(m, ("",))[0] != key:
            features, intervals, _ = csd.entry(key)
            self._last[m] = key, (features, intervals)
        features, intervals = self._last[m][1]
        if len(intervals) and span[0] >= intervals[:, 1].max():
            self.beyond[m].add(segment.key)
        inside = overlapping(intervals, *span)
        return (features[inside], intervals[inside]) if inside.any() else None

    def words(self, segment: Segment, span: tuple[float, float]) -> int:
        """Return the number of words in a segment."""
        found = self._within("text", segment, span)
        return len(found[0]) if found else 0

    def unaligned(
        self, segment: Segment, span: tuple[float, float]
    ) -> dict[Modality, Float32[np.ndarray, "_ _"]]:
        """Return each modality's own features in the segment."""
        found = {m: self._within(m, segment, span) for m in self._files}
        return {m: as_float32(f[0]) for m, f in found.items() if f}

    def aligned(
        self, segment: Segment, span: tuple[float, float]
    ) -> dict[Modality, Float32[np.ndarray, "_ _"]]:
        """Return one step per word; a modality that no word overlaps is missing."""
        found = {m: self._within(m, segment, span) for m in self._files}
        text = found.pop("text")
        assert text is not None
        sequences: dict[Modality, Float32[np.ndarray, "_ _"]] = {"text": as_float32(text[0])}
        for m, here in found.items():
            if here is not None:
                steps = mean_per_word(*here, text[1])
                if steps.any():
                    sequences[m] = as_float32(steps)
        return sequences


def overlapping(
    intervals: Float64[np.ndarray, "n 2"], start: float, end: float
) -> Bool[np.ndarray, "n"]:
    """Say which intervals share time with [start, end); an instant counts if it lies within."""
    first, last = intervals.T
    instant = (first == last) & (first >= start) & (first < end)
    return ((first < end) & (last > start)) | instant


def mean_per_word(
    features: Float64[np.ndarray, "n dim"],
    intervals: Float64[np.ndarray, "n 2"],
    words: Float64[np.ndarray, "words 2"],
) -> Float64[np.ndarray, "words dim"]:
    """Average the features that overlap each word; zeros where none does."""
    means = np.zeros((len(words), features.shape[1]))
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, and reported as such
        for i, (start, end) in enumerate(words.tolist()):
            inside = overlapping(intervals, start, max(end, np.nextafter(start, np.inf)))
            if inside.any():
                means[i] = features[inside].mean(axis=0)
    return means


class _Folds:
    """Says in which split a segment is.

    Raises:
        DataError: there is neither a fold file nor leave to split by hash.
    """

    def __init__(self, options: ConvertOptions, notes: list[str], where: Path) -> None:
        self._known: dict[str, str | None] | None = None
        if options.folds is not None:
            self._known = read_folds(options.folds)
        elif options.split_by_hash:
            notes.append(
                "splits are 70/10/20 by the SHA-256 of the video id, not the official folds: "
                "results cannot be compared with published ones"
            )
        else:
            raise DataError(
                f"{where}: .csd files do not say which video is in which split",
                expected="the SDK's standard_folds lists",
                fix='pass --folds with a JSON {"train": [video ids], "valid": ..., "test": ...} or '
                "a CSV with columns id and split, or --split-by-hash to make a split of your own",
            )

    def split_of(self, segment: Segment) -> str | None:
        """Return the split, or None where the segment is in none."""
        if self._known is None:
            tenth = int(hashlib.sha256(segment.video.encode()).hexdigest(), 16) % 10
            return "train" if tenth < 7 else "valid" if tenth == 7 else "test"
        return self._known.get(segment.key, self._known.get(video_of(segment.video)))


def read_folds(path: Path) -> dict[str, str | None]:
    """Read which video (or segment) is in which split; None for those in none.

    Args:
        path: a JSON ``{split: [ids]}``, or a CSV with columns ``key`` or ``id`` and ``split``.

    Raises:
        DataError: it is missing or damaged, or puts an id into two splits.
    """
    expected = "a JSON {split: [video ids]}, or a CSV with columns id (or key) and split"
    require_file(path, expected)
    with unreadable(path, expected):
        if path.suffix.lower() == ".json":
            lists = json.loads(path.read_text(encoding="utf-8"))
            pairs = [(str(i), canonical_split(split)) for split in lists for i in lists[split]]
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = csv.DictReader(file)
                columns = rows.fieldnames or []
                column = next((c for c in ("key", "id") if c in columns), None)
                if column is None or "split" not in columns:
                    raise DataError(
                        f"{path} has the columns {', '.join(columns)[:200]}", expected=expected
                    )
                pairs = [(row[column], canonical_split(row["split"] or "")) for row in rows]
    folds: dict[str, str | None] = {}
    for name, split in pairs:
        if folds.setdefault(name, split) != split:
            raise DataError(
                f"{path}: {name!r} is in the splits {folds[name]!r} and {split!r}",
                expected="every id in one split",
            )
    if not folds:
        raise DataError(f"{path} lists nothing", expected=expected)
    return folds
