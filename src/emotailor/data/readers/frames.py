"""A folder with the files that extractors write, one per video, and a table of segments.

    visual/<video>.csv   OpenFace; the folder may also be called openface, vision, video, facet
    audio/<video>.csv    openSMILE (also .arff) or COVAREP; also opensmile, covarep, acoustic
    text/<video>.csv     columns word, start, end, and one per feature where there are any
    segments.csv         id, segment_id, start, end, one column per label, split

A frame in which OpenFace found no face is missing. Of several faces the one counts that is found in
most frames of its video.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from emotailor.data.extraction import Extraction
from emotailor.data.readers._common import ConvertOptions, Reading
from emotailor.data.readers.account import Account
from emotailor.data.readers.csd import Folds, cut_by_video, leave_videos
from emotailor.data.readers.joining.labels import read_label_table
from emotailor.data.readers.timed.cut import Cutter
from emotailor.data.readers.timed.frame_files import Frames, read_frames
from emotailor.data.readers.timed.track import Track
from emotailor.data.sample import Modality, Sample
from emotailor.errors import DataError

ROLES: dict[Modality, tuple[str, ...]] = {
    "visual": ("visual", "openface", "vision", "video", "facet"),
    "audio": ("audio", "opensmile", "covarep", "acoustic"),
    "text": ("text", "words", "transcripts"),
}
"""The names of the sub-folders."""

_SUFFIXES = (".csv", ".arff", ".tsv", ".txt")
_EXPECTED = "a folder with sub-folders visual, audio or text that hold one file per video"


def read_extractor_folder(path: Path, options: ConvertOptions) -> Reading:
    """Open a folder of files of OpenFace, openSMILE or COVAREP.

    Raises:
        DataError: there is no table of segments or no sub-folder; a file is damaged; or alignment
            is asked for without words.
    """
    folders = folders_in(path)
    if not folders:
        raise DataError(f"{path} has no folder of features", expected=_EXPECTED)
    labels = options.labels or _segments_in(path)

    sources = {m: _Videos(folder) for m, folder in folders.items()}
    spoken = sources.get("text")
    if spoken is not None and not spoken.has_words:
        spoken = None
    featured = {m: source for m, source in sources.items() if source.first.columns}

    # to words only where it is asked for: frames come by time
    align = options.align is True
    if align and "text" not in sources:
        raise DataError(
            f"{path}: no words to align to",
            expected="a folder text with a table of word, start and end per video",
            fix="add it, or convert as unaligned",
        )
    if not featured:
        raise DataError(f"{path} has no file with features", expected=_EXPECTED)

    account = Account()
    table = read_label_table(labels, options, account)
    account.columns = table.columns
    notes = [*table.notes, options.rule]
    if options.folds is None and not options.split_by_hash:
        options = _with_folds(options, labels)
    folds = Folds(options, table, notes, path)

    def samples() -> Iterator[tuple[str, Sample]]:
        cutter = Cutter(featured, align, spoken, account)
        yield from cut_by_video(table, folds, cutter, options.limit)
        notes.extend(_after(featured, cutter))
        for source in sources.values():
            leave_videos(source.name, source.paths, table)
            source.tell(account)

    dims = {}
    extraction = {}
    for m, source in featured.items():
        dims[m] = len(source.first.columns)
        extraction[m] = _extraction(source.first, "words" if align else "rows")
    used = [labels]
    for source in sources.values():
        used += source.paths.values()
    return Reading(table.names, dims, align, samples(), used, notes, extraction, account)


def folders_in(path: Path) -> dict[Modality, Path]:
    """Return the sub-folder of each modality of which there is one.

    Raises:
        DataError: two of them are of one modality.
    """
    found: dict[Modality, Path] = {}
    if not path.is_dir():
        return found
    for folder in sorted(path.iterdir()):
        for m, names in ROLES.items():
            if folder.name.lower() not in names or not _files_in(folder):
                continue
            if m in found:
                raise DataError(
                    f"{path} has two folders for {m}: {found[m].name} and {folder.name}",
                    expected="one per modality",
                    fix="keep one of them in the folder",
                )
            found[m] = folder
    return found


def _files_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)


def _segments_in(path: Path) -> Path:
    tables = sorted(path.glob("*.csv"))
    if len(tables) == 1:
        return tables[0]
    names = [table.name for table in tables]
    raise DataError(
        f"{path} has {names or 'no'} tables of segments",
        expected="one CSV with id, segment_id, start, end and a column per label",
        fix="name it with --labels",
    )


def _with_folds(options: ConvertOptions, labels: Path) -> ConvertOptions:
    """Return options that take the splits from the table of segments."""
    told = dict(vars(options))
    told["folds"] = labels
    return ConvertOptions(**told)


class _Videos:
    """The files of one modality.

    Attributes:
        name: name of the folder.
        paths: video -> its file.
        first: what the first file holds; all others hold the same columns.
        failed: how many frames of each video failed.
        timeless: how many rows of each video have no time that is possible.
        beside: how many rows of each video are of other faces.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._folder = folder
        self.paths: dict[str, Path] = {}
        for file in _files_in(folder):
            video = file.name.split(".")[0] if file.stem.endswith(".openface") else file.stem
            if video in self.paths:
                raise DataError(
                    f"{folder} has two files of {video!r}: {self.paths[video].name}, {file.name}",
                    expected="one per video",
                )
            self.paths[video] = file
        self._last: tuple[str, Frames] | None = None
        self.failed: Counter[str] = Counter()
        self.timeless: Counter[str] = Counter()
        self.beside: Counter[str] = Counter()
        self.first = self._frames(next(iter(self.paths)))

    def tell(self, account: Account) -> None:
        """Say which columns and files of the folder are not used."""
        account.hold(f"columns of the files in {self.name}", self.first.others)
        known = {file.name for file in self.paths.values()}
        for file in sorted(self._folder.iterdir()):
            if file.name not in known and not file.name.startswith("."):
                account.leave(self.name, "files of another kind", file.name)

    @property
    def has_words(self) -> bool:
        """Whether the files hold words."""
        return self.first.words is not None

    def _frames(self, video: str) -> Frames:
        if self._last is not None and self._last[0] == video:
            return self._last[1]
        frames = read_frames(self.paths[video])
        self._last = (video, frames)
        self.failed[video] = frames.failed
        self.timeless[video] = frames.timeless
        self.beside[video] = frames.beside
        return frames

    def track(self, video: str) -> Track | None:
        """Return the rows of a video, in order of time; None where it has no file.

        Raises:
            DataError: the file is damaged, or has other columns than the first.
        """
        if video not in self.paths:
            return None
        frames = self._frames(video)
        if frames.columns != self.first.columns:
            raise DataError(
                f"{self.paths[video]} has {len(frames.columns)} features",
                expected=f"the {len(self.first.columns)} columns of the first file",
            )
        return frames.track

    def words(self, video: str) -> tuple[list[str], Float64[np.ndarray, "n 2"]]:
        """Return the words of a video and their intervals, in order of time."""
        if video not in self.paths:
            return [], np.zeros((0, 2))
        frames = self._frames(video)
        return frames.words or [], frames.track.intervals


def _extraction(frames: Frames, steps: str) -> Extraction:
    settings = {"columns": list(frames.columns), "steps": steps}
    return Extraction(extractor=frames.extractor, settings=settings)


def _after(sources: dict[Modality, _Videos], cutter: Cutter) -> list[str]:
    """Return the notes that can only be made when all segments are cut."""
    lines = []
    for m, source in sources.items():
        failed = source.failed.total()
        if failed:
            lines.append(f"{source.name}: {failed} frames failed and are missing")
        beside = source.beside.total()
        if beside:
            lines.append(
                f"{source.name}: {beside} rows left out, of faces beside the one that is seen most"
            )
        timeless = source.timeless.total()
        if timeless:
            lines.append(
                f"{source.name}: {timeless} rows with a reversed or non-finite time ignored"
            )
        beyond = cutter.beyond[m]
        if beyond:
            lines.append(f"{source.name}: {beyond} segments start after its last row")
    return lines
