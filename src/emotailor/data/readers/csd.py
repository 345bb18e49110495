"""A folder of CMU-MultimodalSDK ``.csd`` files: raw features per video, cut into segments.

Segments are the intervals of the label file. Aligned, a step is a word: the other modalities are
averaged over the features that overlap it in time, and are zero where none does. Unaligned, a
segment holds each modality's own features that overlap it.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from emotailor.data.ids import video_of
from emotailor.data.readers._common import (
    ConvertOptions,
    Reading,
    as_float32,
    canonical_split,
    read_csv,
    require_file,
    unreadable,
)
from emotailor.data.readers._csd import Csd
from emotailor.data.readers._labels import LabelTable, Segment, read_label_table
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError

_ROLES = {
    "labels": re.compile(r"label|opinion", re.I),
    "visual": re.compile(r"openface|facet|visual|vision", re.I),
    "audio": re.compile(r"covarep|opensmile|acoustic|audio", re.I),
    "text": re.compile(r"glove|word|bert|text", re.I),
}
_SPLIT_OF_TENTH = ("train",) * 7 + ("valid",) + ("test",) * 2

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

    # the words are what the others are aligned to
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
    files, dims, kept_open = _open_features(roles, where)

    def samples() -> Iterator[tuple[str, Sample]]:
        dropped: Counter[str] = Counter()
        with kept_open:
            cutter = _Cutter(files, aligned=align)
            yield from _cut(table, folds, cutter, options.limit, dropped)
        notes.extend(_after(files, cutter, dropped))

    # every file is named in the provenance
    used = [csd.path for csd in files.values()]
    used.append(labels)
    if options.folds is not None:
        used.append(options.folds)
    return Reading(table.names, dims, align, samples(), used, notes)


def _open_features(
    roles: Mapping[str, Path], where: Path
) -> tuple[dict[Modality, Csd], dict[Modality, int], ExitStack]:
    """Open the feature files.

    Returns:
        The files, their widths, and what closes them.
    """
    files: dict[Modality, Csd] = {}
    dims: dict[Modality, int] = {}
    with ExitStack() as stack:
        for m in MODALITIES:
            if m not in roles:
                continue
            files[m] = stack.enter_context(Csd(roles[m]))

            # words and phones have features that are no numbers
            width = files[m].dim
            if width is not None:
                dims[m] = width

        if not files or len(dims) < len(files):
            raise DataError(
                f"{where}: no features, or features that are not numbers, in "
                f"{list(files) or where}",
                expected="numeric features for at least one of visual, audio and text",
            )
        return files, dims, stack.pop_all()


def _cut(
    table: LabelTable,
    folds: "_Folds",
    cutter: "_Cutter",
    limit: int | None,
    dropped: Counter[str],
) -> Iterator[tuple[str, Sample]]:
    """Yield the segments that are in a split, at most ``limit`` of each; count the others."""
    taken: Counter[str] = Counter()
    for segment in table.segments:
        # what is dropped is counted by its reason
        split = folds.split_of(segment)
        if split is None:
            dropped["are in no fold"] += 1
            continue
        if segment.span is None:
            dropped["have no start and end"] += 1
            continue
        if limit is not None and taken[split] >= limit:
            continue
        sequences = cutter.cut(segment, segment.span)
        if sequences is None:
            dropped["have no word in the text file"] += 1
            continue

        taken[split] += 1
        yield split, Sample(segment.key, sequences, segment.labels)


def _after(
    files: Mapping[Modality, Csd], cutter: "_Cutter", dropped: Mapping[str, int]
) -> list[str]:
    """Return the notes that can only be made when all segments are cut."""
    lines = [f"{count} segments {what} and were dropped" for what, count in dropped.items()]

    for m, keys in cutter.beyond.items():
        if keys:
            name = files[m].path.name
            lines.append(f"{name}: {len(keys)} segments start after its last interval")

    for csd in files.values():
        bad = csd.bad_intervals
        if bad:
            lines.append(
                f"{csd.path.name}: {bad} rows with a negative, reversed or non-finite "
                "interval ignored"
            )
    return lines


def _explicit(source: Mapping[str, Path]) -> dict[str, Path]:
    unknown = sorted(set(source) - set(_ROLES))
    if unknown:
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
            root = csd.root
            numeric = csd.dim is not None

        # the root says more than a file name, which anybody may change
        role = _role_of(root) or _role_of(path.stem)
        if role is None:
            notes.append(f"{path.name} was not used: unknown root {root!r}")
            continue
        if not numeric:
            notes.append(f"{path.name} was not used: its features are not numbers")
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


def _role_of(name: str) -> str | None:
    for role, known in _ROLES.items():
        if known.search(name):
            return role
    return None


class _Cutter:
    """Cuts segments out of the entries of videos; keeps the last entry of each file at hand."""

    def __init__(self, files: Mapping[Modality, Csd], *, aligned: bool) -> None:
        self._files = files
        self._aligned = aligned
        self._last: dict[Modality, tuple[str, tuple[np.ndarray, np.ndarray]]] = {}
        self.beyond: dict[Modality, set[str]] = {m: set() for m in files}

    def _within(
        self, m: Modality, segment: Segment, span: tuple[float, float]
    ) -> tuple[Float64[np.ndarray, "n dim"], Float64[np.ndarray, "n 2"]] | None:
        """Return features and intervals that overlap the segment; None where there are none."""
        csd = self._files[m]
        key = segment.key if segment.key in csd else segment.video
        if key not in csd:
            return None

        # such a segment hints at a label file of another data set
        features, intervals = self._entry(m, key)
        start, end = span
        if len(intervals):
            last = intervals[:, 1].max()
            if start >= last:
                self.beyond[m].add(segment.key)

        inside = overlapping(intervals, start, end)  # (n,)
        if not inside.any():
            return None
        return features[inside], intervals[inside]

    def _entry(self, m: Modality, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Return an entry; segments of one video come one after the other, so the last is kept."""
        if m in self._last:
            last, kept = self._last[m]
            if last == key:
                return kept

        features, intervals, _ = self._files[m].entry(key)
        entry = (features, intervals)
        self._last[m] = (key, entry)
        return entry

    def cut(
        self, segment: Segment, span: tuple[float, float]
    ) -> dict[Modality, Float32[np.ndarray, "_ _"]] | None:
        """Return the sequences of a segment; None where there is no word to align to."""
        # of each modality, features (n, dim) and intervals (n, 2)
        inside = {}
        for m in self._files:
            found = self._within(m, segment, span)
            if found is not None:
                inside[m] = found

        sequences: dict[Modality, Float32[np.ndarray, "_ _"]] = {}
        if not self._aligned:
            for m, (features, _) in inside.items():
                sequences[m] = as_float32(features)
            return sequences

        if "text" not in inside:
            return None

        # one step per word; a modality that no word overlaps is missing
        words, spans = inside.pop("text")
        sequences["text"] = as_float32(words)
        for m, (features, intervals) in inside.items():
            steps = mean_per_word(features, intervals, spans)  # (words, dim)
            if steps.any():
                sequences[m] = as_float32(steps)
        return sequences


def overlapping(
    intervals: Float64[np.ndarray, "n 2"], start: float, end: float
) -> Bool[np.ndarray, "n"]:
    """Say which intervals share time with [start, end); an instant counts if it lies within."""
    first = intervals[:, 0]
    last = intervals[:, 1]
    shared = (first < end) & (last > start)

    # an interval without length shares no time, and is kept all the same
    instant = first == last
    within = (first >= start) & (first < end)
    return shared | (instant & within)


def mean_per_word(
    features: Float64[np.ndarray, "n dim"],
    intervals: Float64[np.ndarray, "n 2"],
    words: Float64[np.ndarray, "words 2"],
) -> Float64[np.ndarray, "words dim"]:
    """Average the features that overlap each word; zeros where none does."""
    dim = features.shape[1]
    means = np.zeros((len(words), dim))
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, and reported as such
        for i, (start, end) in enumerate(words.tolist()):
            # a word that is an instant lasts for the shortest time there is
            shortest = np.nextafter(start, np.inf)
            end_after_start = max(end, shortest)

            inside = overlapping(intervals, start, end_after_start)
            if inside.any():
                overlapped = features[inside]  # (n, dim)
                means[i] = overlapped.mean(axis=0)
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
        known = self._known
        if known is not None:
            # a fold file lists segments, or whole videos
            video = video_of(segment.video)
            return known.get(segment.key, known.get(video))

        # the same video is in the same split on every machine
        digest = hashlib.sha256(segment.video.encode())
        tenth = int(digest.hexdigest(), 16) % 10
        return _SPLIT_OF_TENTH[tenth]


_FOLDS = "a JSON {split: [video ids]}, or a CSV with columns id (or key) and split"


def read_folds(path: Path) -> dict[str, str | None]:
    """Read which video (or segment) is in which split; None for those in none.

    Args:
        path: a JSON ``{split: [ids]}``, or a CSV with columns ``key`` or ``id`` and ``split``.

    Raises:
        DataError: it is missing or damaged, or puts an id into two splits.
    """
    require_file(path, _FOLDS)
    is_json = path.suffix.lower() == ".json"
    pairs = _pairs_in_json(path) if is_json else _pairs_in_csv(path)

    folds: dict[str, str | None] = {}
    for name, split in pairs:
        # the same split twice is no contradiction
        before = folds.setdefault(name, split)
        if before != split:
            raise DataError(
                f"{path}: {name!r} is in the splits {before!r} and {split!r}",
                expected="every id in one split",
            )

    if not folds:
        raise DataError(f"{path} lists nothing", expected=_FOLDS)
    return folds


def _pairs_in_json(path: Path) -> Iterator[tuple[str, str | None]]:
    with unreadable(path, _FOLDS):
        lists = json.loads(path.read_text(encoding="utf-8"))

    found = f"{path} holds {str(lists)[:80]}"
    if not isinstance(lists, dict):
        raise DataError(found, expected=_FOLDS)
    for ids in lists.values():
        if not isinstance(ids, list):
            raise DataError(found, expected=_FOLDS)

    for name_of_split, ids in lists.items():
        split = canonical_split(name_of_split)
        for name in ids:
            yield str(name), split


def _pairs_in_csv(path: Path) -> Iterator[tuple[str, str | None]]:
    table = read_csv(path, _FOLDS)
    columns = table.columns
    column = "key" if "key" in columns else "id"
    if column not in columns or "split" not in columns:
        found = ", ".join(columns)[:200]
        raise DataError(f"{path} has the columns {found}", expected=_FOLDS)

    for row in table.rows:
        # a row that is too short has no cell there
        split = row["split"] or ""
        yield row[column], canonical_split(split)
