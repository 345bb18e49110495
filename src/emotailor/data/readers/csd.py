"""A folder of CMU-MultimodalSDK ``.csd`` files: raw features per video, cut into segments.

Segments are the intervals of the label file. Aligned, a step is a word: the other modalities are
averaged over all their rows that overlap it in time, and are missing where none does. Unaligned, a
segment holds each modality's own rows that overlap it. ``docs/data.md`` tells where this differs
from the SDK's ``align``.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from emotailor.data.extraction import Extraction
from emotailor.data.ids import parse_raw_clip, parse_segment, video_of
from emotailor.data.readers._common import (
    ConvertOptions,
    Reading,
    canonical_split,
    read_csv,
    require_file,
    text_encoding,
    unreadable,
)
from emotailor.data.readers.account import Account
from emotailor.data.readers.joining.join import Wanted, join
from emotailor.data.readers.joining.labels import (
    LabelTable,
    Segment,
    columns_of,
    name_in,
    read_label_table,
    roles_in,
)
from emotailor.data.readers.timed.csd_files import Csd
from emotailor.data.readers.timed.cut import Cutter
from emotailor.data.readers.timed.track import piece_of
from emotailor.data.sample import MODALITIES, UNSPLIT, Modality, Sample
from emotailor.errors import DataError

_ROLES = {
    "labels": re.compile(r"label|opinion", re.I),
    "visual": re.compile(r"openface|facet|visual|vision|densenet|resnet|vgg", re.I),
    "audio": re.compile(
        r"covarep|opensmile|acoustic|audio|emobase|gemaps|librosa|mfcc|wav2vec", re.I
    ),
    "text": re.compile(r"glove|word|bert|text|elmo|transcript", re.I),
}
_ROLE_NAMES = (*_ROLES, "words")
_SPLIT_OF_TENTH = ("train",) * 7 + ("valid",) + ("test",) * 2

Source = Path | Mapping[str, Path]


def read_csd(source: Source, options: ConvertOptions) -> Reading:
    """Open a folder of ``.csd`` files, or one file per role.

    Roles are visual, audio, text and labels, and ``words`` for the words themselves.

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
    if align and "text" not in roles and "words" not in roles:
        raise DataError(
            f"{where}: no text to align to",
            expected="a file such as CMU_MOSEI_TimestampedWordVectors.csd",
            fix="add it, or convert as unaligned",
        )

    account = Account()
    if isinstance(source, Path):
        account.opened.update(source.glob("*.csd"))  # what is not used of them is noted already
    table = read_label_table(labels, options, account)
    account.columns = table.columns
    notes += [*table.notes, options.rule]
    folds = Folds(options, table, notes, where)
    files, dims, spoken, kept_open = _open_features(roles, where)

    def samples() -> Iterator[tuple[str, Sample]]:
        with kept_open:
            cutter = Cutter(files, align, spoken, account)
            yield from cut_by_video(table, folds, cutter, options.limit)
            for csd in files.values():
                leave_videos(csd.name, csd.videos, table)
                account.hold(f"arrays of {csd.name}", csd.others)
        notes.extend(_after(files, cutter))

    # every file is named in the provenance
    used = [csd.path for csd in files.values()]
    if spoken is not None:
        used.append(spoken.path)
    used.append(labels)
    if options.folds is not None:
        used.append(options.folds)

    steps = "words" if align else "rows"
    extraction = {m: _extraction(csd, steps) for m, csd in files.items()}
    return Reading(table.names, dims, align, samples(), used, notes, extraction, account)


def leave_videos(place: str, videos: Iterable[str], table: LabelTable) -> None:
    """Count the videos that have features and no segment."""
    known = {piece_of(segment.video)[0] for segment in table.segments}
    for video in sorted(set(videos) - known):
        table.account.leave(place, "videos without a segment", video)


def _open_features(
    roles: Mapping[str, Path], where: Path
) -> tuple[dict[Modality, Csd], dict[Modality, int], Csd | None, ExitStack]:
    """Open the feature files.

    Returns:
        The files, their widths, the words, and what closes all of them.
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

        spoken = None
        if "words" in roles:
            spoken = stack.enter_context(Csd(roles["words"]))
        return files, dims, spoken, stack.pop_all()


def _extraction(csd: Csd, steps: str) -> Extraction:
    """Say how the features of a file were extracted: its root names the program."""
    version = csd.metadata("computational sequence version")
    known = version if isinstance(version, str | int | float) else ""
    settings = {"container": "CMU-MultimodalSDK", "steps": steps}
    return Extraction(extractor=csd.root, version=str(known), settings=settings)


def cut_by_video(
    table: LabelTable, folds: "Folds", cutter: Cutter, limit: int | None
) -> Iterator[tuple[str, Sample]]:
    """Yield the segments that are in a split, at most ``limit`` of each; count the others."""
    # all segments of a video together, so that each of its entries is read once
    by_video: dict[str, list[Segment]] = {}
    for segment in table.segments:
        video, _ = piece_of(segment.video)
        by_video.setdefault(video, []).append(segment)

    taken: Counter[str] = Counter()
    for video, segments in by_video.items():
        splits = {}
        for segment in segments:
            split = folds.split_of(segment)
            if split is None:
                cutter.account.drop("segment", "in no split", segment.key)
            elif limit is None or taken[split] < limit:
                splits[segment.key] = split

        wanted = [segment for segment in segments if segment.key in splits]
        if not wanted:
            continue
        for sample in cutter.cut(video, wanted, segments):
            split = splits[sample.id]
            taken[split] += 1
            yield split, sample


def _after(files: Mapping[Modality, Csd], cutter: Cutter) -> list[str]:
    """Return the notes that can only be made when all segments are cut."""
    lines = []
    pieces = "its entries video[k] are words: put together by time"
    lines += [f"{name}: {pieces}" for name in sorted(cutter.put_together)]
    for m, count in cutter.imputed.items():
        lines.append(f"{files[m].name}: {count} rows of zeros for words without {m}: missing")
    for m, count in cutter.beyond.items():
        if count:
            lines.append(f"{files[m].name}: {count} segments start after its last interval")

    for csd in files.values():
        bad = csd.bad_intervals
        if bad:
            lines.append(f"{csd.name}: {bad} rows with a reversed or non-finite interval ignored")
    return lines


def _explicit(source: Mapping[str, Path]) -> dict[str, Path]:
    unknown = sorted(set(source) - set(_ROLE_NAMES))
    if unknown:
        raise DataError(f"unknown roles {unknown}", expected=f"some of {', '.join(_ROLE_NAMES)}")
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
            textual = csd.holds_texts

        # the root says more than a file name, which anybody may change
        role = _role_of(root) or _role_of(path.stem)
        if role is None:
            notes.append(f"{path.name} was not used: unknown root {root!r}")
            continue
        if role == "text" and textual:
            role = "words"
        elif not numeric:
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


class Folds:
    """Says in which split a segment is.

    Args:
        options: the fold file, or leave to split by hash.
        table: the segments.
        notes: what was assumed is added to them.
        where: the source, for messages.

    Raises:
        DataError: there is neither a fold file nor leave to split by hash, or the file lists none
            of the segments.
    """

    def __init__(
        self, options: ConvertOptions, table: LabelTable, notes: list[str], where: Path
    ) -> None:
        self._known: dict[str, str | None] | None = None
        self._clips: set[str] = set()
        self._all = options.split is not None or options.unlabelled
        if options.folds is not None:
            self._known = read_folds(options.folds, table.account)
            self._find_clips(options.folds, table, notes)
            self._refuse_others(options.folds, table)
            self._leave_others(options.folds, table)
        elif self._all:
            return
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
                "a CSV with columns id and split, or --split 70/10/20 or --split-by-hash to make a "
                "split of your own",
            )

    def split_of(self, segment: Segment) -> str | None:
        """Return the split, or None where the segment is in none."""
        known = self._known
        if known is not None:
            # a fold file lists segments, or whole videos
            for name in (segment.key, video_of(segment.video)):
                if name in known:
                    return known[name]
            return None
        if self._all:
            return UNSPLIT

        # the same video is in the same split on every machine
        digest = hashlib.sha256(segment.video.encode())
        tenth = int(digest.hexdigest(), 16) % 10
        return _SPLIT_OF_TENTH[tenth]

    def _find_clips(self, path: Path, table: LabelTable, notes: list[str]) -> None:
        """Find the segments of ids ``video$_$c``, which count the clips of the transcript."""
        known = self._known or {}
        segments = {segment.key for segment in table.segments}
        videos = {video_of(segment.video) for segment in table.segments}
        listed = segments | videos
        wanted = []
        for name in known:
            parts = parse_segment(name) or parse_raw_clip(name)
            if parts is None or parts.spelling == "[]" or name in listed:
                continue
            if parts.video in videos:
                wanted.append(Wanted(name))
        if not wanted:
            return

        found = 0
        for sample, segment in zip(wanted, join(path, table, wanted).segments, strict=True):
            if segment is not None:
                found += 1
                self._clips.add(sample.name)
                known.setdefault(segment.key, known[sample.name])
        notes.append(
            f"{path.name} counts clips: {found} of its {len(wanted)} are found, by clip number or "
            "by rank"
        )

    def _leave_others(self, path: Path, table: LabelTable) -> None:
        """Count the entries of the file that are no segment and no video."""
        known = self._known or {}
        there = {video_of(segment.video) for segment in table.segments}
        there |= {segment.key for segment in table.segments}
        for name in known:
            if name not in there and name not in self._clips:
                table.account.leave(path.name, "entries of no segment", name)

    def _refuse_others(self, path: Path, table: LabelTable) -> None:
        """Refuse a file that lists none of the segments."""
        known = self._known or {}
        videos = {video_of(segment.video) for segment in table.segments}
        keys = {segment.key for segment in table.segments}
        if table.segments and not known.keys() & (videos | keys):
            raise DataError(
                f"{path} lists none of the segments of {table.path}, such as "
                f"{table.segments[0].key!r}, but {next(iter(known))!r}",
                expected="ids of the same videos or segments",
                fix="check that both files belong to this data set",
            )


_FOLDS = "a JSON {split: [video ids]}, or a CSV with columns id (or key) and split"


def read_folds(path: Path, account: Account | None = None) -> dict[str, str | None]:
    """Read which video (or segment) is in which split; None for those in none.

    Args:
        path: a JSON ``{split: [ids]}``, or a CSV with columns ``key`` or ``id`` and ``split``.
        account: takes in what the file holds.

    Raises:
        DataError: it is missing or damaged, or puts an id into two splits.
    """
    require_file(path, _FOLDS)
    text = path.read_text(encoding=text_encoding(path, _FOLDS))
    is_json = text.lstrip().startswith(("{", "["))
    account = account or Account()
    pairs = _pairs_in_json(path, text) if is_json else _pairs_in_csv(path, account)

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


def _pairs_in_json(path: Path, text: str) -> Iterator[tuple[str, str | None]]:
    with unreadable(path, _FOLDS):
        lists = json.loads(text)

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


_SPLIT_COLUMNS = ("split", "fold", "partition", "sdk_fold", "mode")
"""The names of the column that says the split, in lower case; the first there is counts."""


_NAMING = ("id", "number", "clip", "key")
"""What the columns hold that say which segment a row is of."""


def _pairs_in_csv(path: Path, account: Account) -> Iterator[tuple[str, str | None]]:
    table = read_csv(path, _FOLDS)
    roles = roles_in(table.columns)
    by_name = {column.lower(): column for column in table.columns}
    present = [by_name[name] for name in _SPLIT_COLUMNS if name in by_name]
    if not present or not {"id", "key"} & set(roles):
        found = ", ".join(table.columns)[:200]
        raise DataError(f"{path} has the columns {found}", expected=_FOLDS)

    held = account.hold(columns_of(path), table.columns)
    held.use([present[0]])
    held.use(roles[role] for role in _NAMING if role in roles)
    for row, line in zip(table.rows, table.lines, strict=True):
        name = name_in(row, roles, f"{path}, line {line}")
        # a row that is too short has no cell there
        split = row[present[0]] or ""
        yield name.key, canonical_split(split)
