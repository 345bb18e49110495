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
from emotailor.data.sample import MODALITIES, Modality, Sample, video_of
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

    used = [*(csd.path for csd in files.values()), labels]
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
    lines = [f"{n} segments {what} and were dropped" for what, n in dropped.items()]
    for m, keys in cutter.beyond.items():
        if keys:
            lines.append(
                f"{files[m].path.name}: {len(keys)} segments start after its last interval"
            )
    lines += [
        f"{csd.path.name}: {csd.bad_intervals} rows with a negative, reversed or non-finite "
        "interval ignored"
        for csd in files.values()
        if csd.bad_intervals
    ]
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

        features, intervals = self._entry(m, key)

        # such a segment hints at a label file of another data set
        start, end = span
        if len(intervals) and start >= intervals[:, 1].max():
            self.beyond[m].add(segment.key)

        inside = overlapping(intervals, start, end)
        if not inside.any():
            return None
        return features[inside], intervals[inside]

    def _entry(self, m: Modality, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Return an entry; segments of one video come one after the other, so the last is kept."""
        last = self._last.get(m)
        if last is not None and last[0] == key:
            return last[1]
        features, intervals, _ = self._files[m].entry(key)
        self._last[m] = key, (features, intervals)
        return features, intervals

    def cut(
        self, segment: Segment, span: tuple[float, float]
    ) -> dict[Modality, Float32[np.ndarray, "_ _"]] | None:
        """Return the sequences of a segment; None where there is no word to align to."""
        # of each modality, features (n, dim) and intervals (n, 2)
        found = {m: self._within(m, segment, span) for m in self._files}
        inside = {m: here for m, here in found.items() if here is not None}
        if not self._aligned:
            return {m: as_float32(features) for m, (features, _) in inside.items()}

        if "text" not in inside:
            return None

        # one step per word; a modality that no word overlaps is missing
        words, spans = inside.pop("text")
        sequences: dict[Modality, Float32[np.ndarray, "_ _"]] = {"text": as_float32(words)}
        for m, (features, intervals) in inside.items():
            steps = mean_per_word(features, intervals, spans)  # (words, dim)
            if steps.any():
                sequences[m] = as_float32(steps)
        return sequences


def overlapping(
    intervals: Float64[np.ndarray, "n 2"], start: float, end: float
) -> Bool[np.ndarray, "n"]:
    """Say which intervals share time with [start, end); an instant counts if it lies within."""
    first, last = intervals.T
    # an interval without length shares no time, and is kept all the same
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
            # a word that is an instant lasts for the shortest time there is
            end_after_start = max(end, np.nextafter(start, np.inf))
            inside = overlapping(intervals, start, end_after_start)
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
            # the same video is in the same split on every machine
            tenth = int(hashlib.sha256(segment.video.encode()).hexdigest(), 16) % 10
            return _SPLIT_OF_TENTH[tenth]
        return self._known.get(segment.key, self._known.get(video_of(segment.video)))


_FOLDS = "a JSON {split: [video ids]}, or a CSV with columns id (or key) and split"


def read_folds(path: Path) -> dict[str, str | None]:
    """Read which video (or segment) is in which split; None for those in none.

    Args:
        path: a JSON ``{split: [ids]}``, or a CSV with columns ``key`` or ``id`` and ``split``.

    Raises:
        DataError: it is missing or damaged, or puts an id into two splits.
    """
    require_file(path, _FOLDS)
    pairs = _pairs_in_json(path) if path.suffix.lower() == ".json" else _pairs_in_csv(path)

    folds: dict[str, str | None] = {}
    for name, split in pairs:
        if folds.setdefault(name, split) != split:
            raise DataError(
                f"{path}: {name!r} is in the splits {folds[name]!r} and {split!r}",
                expected="every id in one split",
            )
    if not folds:
        raise DataError(f"{path} lists nothing", expected=_FOLDS)
    return folds


def _pairs_in_json(path: Path) -> Iterator[tuple[str, str | None]]:
    with unreadable(path, _FOLDS):
        lists = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(lists, dict) or not all(isinstance(ids, list) for ids in lists.values()):
        raise DataError(f"{path} holds {str(lists)[:80]}", expected=_FOLDS)
    for split, ids in lists.items():
        for name in ids:
            yield str(name), canonical_split(split)


def _pairs_in_csv(path: Path) -> Iterator[tuple[str, str | None]]:
    table = read_csv(path, _FOLDS)
    column = "key" if "key" in table.columns else "id"
    if column not in table.columns or "split" not in table.columns:
        raise DataError(f"{path} has the columns {', '.join(table.columns)[:200]}", expected=_FOLDS)
    for row in table.rows:
        yield row[column], canonical_split(row["split"] or "")
