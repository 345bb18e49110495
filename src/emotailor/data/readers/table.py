"""A plain table: a CSV of ids, splits and labels, with features beside it.

my_data/
  samples.csv       id,split,happy,sad,...
  visual/<id>.npy   (steps, dim) or (dim,); or <id>.npz with one array
  audio/...         a file that is not there is a missing modality
  text.npy          or, instead of a folder, one row (a vector) per row of the CSV
  text.safetensors  or all steps of all rows end to end, see ragged.py; or text.npz

Columns ``visual``, ``audio``, ``text`` that name ``.npy`` or ``.npz`` files say where features lie
instead, and a column ``path`` names an ``.npz`` with all modalities of the sample. Ids, splits and
labels may be absent. A column of names can become features (flags.py), and further tables can be
joined by id (rows.py). Where a column holds what is said, an encoder can make the features of text
(said.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from emotailor.data.readers._common import (
    ConvertOptions,
    Reading,
    as_number,
    canonical_split,
    pick_columns,
)
from emotailor.data.readers.account import Account, Parts
from emotailor.data.readers.beside import (
    FILES,
    Features,
    OneArray,
    PerSample,
    Together,
    file_of,
    sample_of,
)
from emotailor.data.readers.flags import Flags
from emotailor.data.readers.ragged import RaggedFile
from emotailor.data.readers.rows import EXPECTED, Rows, joined, read_rows
from emotailor.data.readers.said import Said
from emotailor.data.sample import MODALITIES, UNSPLIT, Modality, Sample, canonical_label
from emotailor.errors import DataError

_PATHS = ("path", "file", "filename", "npz", "features")
"""What a column is called that names a file with all modalities of a sample."""

_WORDS = "words"
"""What a column is called that holds the word of each step, separated by blanks."""


def read_table(path: Path, options: ConvertOptions) -> Reading:
    """Open a CSV and the feature files beside it.

    Args:
        path: the CSV, or a folder that holds exactly one.
        options: ``label_names`` chooses the label columns; by default all numeric ones are.

    Raises:
        DataError: the CSV or a feature file is missing, damaged or does not fit.
    """
    if path.is_dir():
        path = _table_in(path)
    account = Account()
    notes: list[str] = []
    rows = _rows(path, options, account, notes)

    held = account.hold(f"columns of {path.name}", rows.columns)
    named = _path_columns(rows)
    held.use([*named.values(), *rows.of_ids, "split"])
    if not rows.ids:
        rows = replace(rows, ids=_named_by_files(rows, named))
    flags = _flags(rows, options, account)
    held.use(options.flags.values())
    said = Said.in_column(rows, options)
    if said is not None:
        held.use([said.column])
    features, files = _features(rows, named, account, options)

    label_columns = _label_columns(rows, held, options)
    held.use(label_columns)
    account.columns = label_columns
    labels = _labels(rows, label_columns, options)
    if label_columns:
        notes.append(options.rule)
    else:
        notes.append("no column of labels: the samples are for prediction alone")

    aligned = options.align
    if aligned is None:
        aligned = _same_steps(features, said)
        if not aligned:
            notes.append(
                "taken as unaligned; pass --align if step i is one moment in all modalities"
            )

    dims: dict[Modality, int] = {}
    for source in features:
        dims |= source.dims
    for flag in flags:
        dims[flag.modality] = len(flag.names)
    spoken = _spoken(rows, dims, held, aligned=aligned)
    words_of_rows: list[int] = []
    if said is not None:
        words_of_rows = said.lengths.tolist()

    def samples() -> Iterator[tuple[str, Sample]]:
        for i, row in enumerate(rows.cells):
            split = canonical_split(row.get("split", UNSPLIT))
            if split is None:
                account.drop("sample", "in no split", rows.ids[i])
                continue

            sample = sample_of(features, i, rows.ids[i], labels[i], keep_going=options.keep_going)
            words = 0
            if said is not None:
                sample = said.added_to(sample, i)
                words = words_of_rows[i]
            for flag in flags:
                sample = flag.added_to(sample, i, words)
            yield split, spoken.added_to(sample, i, account)

    return Reading(
        tuple(options.label_names or label_columns),
        {m: dims[m] for m in MODALITIES if m in dims},
        aligned,
        samples(),
        [*files, *options.join],
        notes,
        extraction={flag.modality: flag.extraction for flag in flags},
        account=account,
        count=len(rows),
    )


def _rows(path: Path, options: ConvertOptions, account: Account, notes: list[str]) -> Rows:
    """Return the rows of a table, with the columns of those that are joined to it."""
    rows = read_rows(path)
    for other in options.join:
        rows = joined(rows, other, account)
    if len(rows.of_ids) > 1:
        columns = " and ".join(rows.of_ids)
        notes.append(f"ids are made of {columns}, since ids repeat: {rows.ids[0]}, …")
    return rows


def _same_steps(features: Sequence[Features], said: Said | None) -> bool:
    """Say whether all modalities that a row has are equally long, as far as that is known."""
    modalities = {m for source in features for m in source.dims}
    lengths = [source.lengths for source in features]
    if said is not None:
        modalities.add("text")
        lengths.append(said.lengths)
    if len(modalities) < 2:
        return True  # with itself

    known = [steps for steps in lengths if steps is not None]
    if len(known) < len(lengths):
        return False
    table = np.stack(known)  # (sources, rows)
    longest = table.max(axis=0, initial=0)
    return bool(((table == longest) | (table == 0)).all())


def _table_in(folder: Path) -> Path:
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise DataError(
            f"{folder} holds {len(tables)} CSV files", expected="one", fix="give the CSV itself"
        )
    return tables[0]


def _named_by_files(rows: Rows, named: Mapping[str, str]) -> list[str]:
    """Return the id of each row of a table without ids: the name of its first file."""
    ids = []
    for row in rows.cells:
        files = [row[column] for column in named.values() if row[column].strip()]
        if not files:
            found = ", ".join(rows.columns)[:200]
            raise DataError(
                f"{rows.path} has the columns {found}",
                expected=f"{EXPECTED}; or columns path, visual, audio or text with the names of "
                "files",
            )
        ids.append(Path(files[0].strip()).stem)
    return ids


# ---------------------------------------------------------------------- features


def _path_columns(rows: Rows) -> dict[str, str]:
    """Return the columns that name files: modality, or ``path`` for all of them, -> column."""
    wanted: dict[str, tuple[str, ...]] = {"path": _PATHS}
    for m in MODALITIES:
        wanted[m] = (m, f"{m}_path", f"{m}_file")

    found: dict[str, str] = {}
    for what, names in wanted.items():
        for column in rows.columns:
            if column.strip().lower() in names and _names_files(rows, column):
                found.setdefault(what, column)
    return found


def _names_files(rows: Rows, column: str) -> bool:
    """Say whether every cell of a column names a file of features, but for empty ones."""
    cells = [cell.lower() for cell in rows.column(column) if cell]
    return bool(cells) and all(cell.endswith(FILES) for cell in cells)


def _features(
    rows: Rows, named: Mapping[str, str], account: Account, options: ConvertOptions
) -> tuple[list[Features], list[Path]]:
    """Return where features come from, and the files for the provenance."""
    path = rows.path
    features: list[Features] = []
    files = [path]
    if "path" in named:
        whole = _files_in(rows, named["path"])
        features.append(Together(whole, account, keep_going=options.keep_going))

    for m in MODALITIES:
        if m in options.flags:
            continue
        if m in named:
            of_cells = _files_in(rows, named[m])
            features.append(PerSample(m, of_cells, account, keep_going=options.keep_going))
            continue

        # one file for all samples comes before a folder of one file per sample
        file = options.features.get(m) or _one_file(path, m)
        folder = path.with_name(m)
        if file is not None:
            features.append(_of_all(m, file, rows, account))
            files.append(file)
            if folder.is_dir():
                account.leave(path.name, f"folder beside {file.name} not used", folder.name)
        elif folder.is_dir():
            beside = [file_of(folder, name) for name in rows.ids]
            of_rows = PerSample(m, beside, account, keep_going=options.keep_going)
            _leave_others(folder, beside, account)
            if of_rows.dims:
                features.append(of_rows)

    found = any(source.dims for source in features) or options.flags or options.text_column
    if not found and not options.keep_going:
        raise DataError(
            f"no features beside {path}",
            expected="folders visual, audio or text with <id>.npy files; or visual.npy, "
            "visual.safetensors or visual.npz with those of all rows, and so on; or columns of "
            "these names with the names of files",
            fix="where a column holds what is said, name it: --text-column text --encoder minilm",
        )
    return features, files


def _one_file(path: Path, m: Modality) -> Path | None:
    """Return the file beside a table that holds a modality of all rows; None where none does."""
    beside = [path.with_name(f"{m}{suffix}") for suffix in FILES]
    there = [file for file in beside if file.exists()]
    if len(there) > 1:
        raise DataError(
            f"{path.parent} holds {' and '.join(file.name for file in there)}",
            expected=f"one file with the features of {m}",
        )
    return there[0] if there else None


def _of_all(m: Modality, file: Path, rows: Rows, account: Account) -> Features:
    """Open the features of all rows."""
    if file.suffix.lower() == ".npy":
        return OneArray(m, file, len(rows))
    return RaggedFile(m, file, rows.ids, account)


def _files_in(rows: Rows, column: str) -> list[Path | None]:
    """Return the files that a column names; relative names are relative to the CSV."""
    folder = rows.path.parent
    return [folder / cell if cell else None for cell in rows.column(column)]


def _flags(rows: Rows, options: ConvertOptions, account: Account) -> list[Flags]:
    """Return the columns of names that become features."""
    flags = []
    for m, column in options.flags.items():
        flags.append(Flags(m, rows, column, options.flag_names, account))
    return flags


def _leave_others(folder: Path, used: list[Path | None], account: Account) -> None:
    """Count the files in a folder that belong to no row."""
    known = {file.name for file in used if file is not None}
    for file in sorted(folder.iterdir()):
        if file.name not in known and not file.name.startswith("."):
            account.leave(folder.name, "files of no row", file.name)


# ---------------------------------------------------------------------- words


class _Spoken:
    """The words of a column, for the rows that have as many of them as steps.

    Args:
        words: those of each row; None where there is no column of words.
        worded: the modalities whose steps are words.
        file: name of the table, for the account.
    """

    def __init__(
        self, words: Sequence[list[str]] | None, worded: Sequence[Modality], file: str
    ) -> None:
        self._words = words
        self._worded = worded
        self._file = file

    def added_to(self, sample: Sample, row: int, account: Account) -> Sample:
        """Return a sample with its words, where these are known and its features have none."""
        if self._words is None or sample.words or not self._words[row]:
            return sample

        words = self._words[row]
        lengths = [len(sample.sequences[m]) for m in self._worded if m in sample.sequences]
        if len(words) != max(lengths, default=0):
            account.leave(self._file, "rows with another number of words than steps", sample.id)
            return sample
        return replace(sample, words=words)


def _spoken(rows: Rows, dims: Mapping[Modality, int], held: Parts, *, aligned: bool) -> _Spoken:
    """Return the words that a column of this name holds, separated by blanks."""
    worded: list[Modality] = list(dims) if aligned else ["text"]
    columns = [column for column in held.unused() if column.lower() == _WORDS]
    if not columns:
        return _Spoken(None, worded, rows.path.name)

    held.use(columns[:1])
    words = [cell.split() for cell in rows.column(columns[0])]
    return _Spoken(words, worded, rows.path.name)


# ---------------------------------------------------------------------- labels


def _number(cell: str) -> float | None:
    try:
        return as_number(cell)
    except ValueError:
        return None


def _labels(
    rows: Rows, columns: list[str], options: ConvertOptions
) -> list[UInt8[np.ndarray, "labels"] | None]:
    """Return the labels of each row; None where all its cells are empty."""
    labelled = []
    values = []
    for i, row in enumerate(rows.cells):
        numbers = [_number(row[column]) for column in columns]
        known = [number is not None for number in numbers]
        if not any(known):
            continue

        # half a vector says neither yes nor no of the rest
        if not all(known):
            empty = columns[known.index(False)]
            raise DataError(
                f"{rows.path}: sample {rows.ids[i]!r} has no value for {empty!r} and one for "
                "others",
                expected="a number for every label, or for none",
                fix=f"the labels are {', '.join(columns)}: name fewer with --label-names, write 0 "
                "where one does not hold, or empty all of them where nobody knows",
            )
        labelled.append(i)
        values.append(numbers)

    labels: list[UInt8[np.ndarray, "labels"] | None] = [None] * len(rows)
    held = options.binarise(str(rows.path), np.array(values, np.float64))
    for i, of_row in zip(labelled, held, strict=True):
        labels[i] = of_row
    return labels


def _label_columns(rows: Rows, columns: Parts, options: ConvertOptions) -> list[str]:
    """Return the label columns: those that the user names, or all of numbers."""
    # pandas writes its index into a column without a name
    others = [column for column in columns.unused() if column]
    wrong = {column: _first_wrong(rows, column) for column in others}
    if options.label_names is None:
        return [column for column in others if wrong[column] is None]

    # a column that the user names has to be a label
    chosen = pick_columns(str(rows.path), others, options.label_names, canonical_label)
    for column in chosen:
        cell = wrong[column]
        if cell is not None:
            raise DataError(
                f"{rows.path}: label {column!r} has the value {cell!r}",
                expected="a number in every row",
            )
    return chosen


def _first_wrong(rows: Rows, column: str) -> str | None:
    """Return the first cell of a column that is no number; empty ones are unknown labels."""
    cells = [cell for cell in rows.column(column) if cell]
    for cell in cells:
        if _number(cell) is None:
            return cell

    # a column without any value is no label either
    return None if cells else ""
