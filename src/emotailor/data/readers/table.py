"""A plain table: a CSV of ids, splits and labels, with features beside it.

my_data/
  samples.csv     id,split,happy,sad,...
  visual/<id>.npy (steps, dim) or (dim,); or <id>.npz with one array
  audio/...       a file that is not there is a missing modality
  text.npy        or, instead of a folder, one row (a vector) per row of the CSV

Columns ``visual``, ``audio``, ``text`` that name ``.npy`` or ``.npz`` files say where features lie
instead, and a column ``path`` names an ``.npz`` with all modalities of the sample. Ids, splits and
labels may be absent.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from emotailor.data.readers._common import (
    ConvertOptions,
    Reading,
    as_number,
    canonical_split,
    pick_columns,
    read_csv,
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
from emotailor.data.sample import MODALITIES, UNSPLIT, Modality, Sample, canonical_label
from emotailor.errors import DataError

LONGEST_NAME = 240
"""Most bytes of an id that becomes the name of a file: file systems take 255, with the ending."""

_EXPECTED = "a CSV with columns id, split and one per label"
_PATHS = ("path", "file", "filename", "npz", "features")
"""What a column is called that names a file with all modalities of a sample."""

_Rows = list[dict[str, str]]


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
    rows, columns = _read_rows(path)

    account = Account()
    held = account.hold(f"columns of {path.name}", columns)
    named = _path_columns(rows, columns)
    held.use([*named.values(), "id", "split"])
    ids = _ids(path, rows, named)
    features, files = _features(path, rows, ids, named, account, keep_going=options.keep_going)

    notes: list[str] = []
    label_columns = _label_columns(path, rows, held, options)
    held.use(label_columns)
    account.columns = label_columns
    labels = _labels(path, rows, ids, label_columns, options)
    if label_columns:
        notes.append(options.rule)
    else:
        notes.append("no column of labels: the samples are for prediction alone")

    # vectors are sequences of one step, and so of equal length
    aligned = options.align
    if aligned is None:
        aligned = all(source.vectors for source in features)
        if not aligned:
            notes.append(
                "taken as unaligned; pass --align if step i is one moment in all modalities"
            )

    def samples() -> Iterator[tuple[str, Sample]]:
        for i, row in enumerate(rows):
            split = canonical_split(row.get("split", UNSPLIT))
            if split is None:
                account.drop("sample", "in no split", ids[i])
                continue

            keep_going = options.keep_going
            yield split, sample_of(features, i, ids[i], labels[i], keep_going=keep_going)

    dims: dict[Modality, int] = {}
    for source in features:
        dims |= source.dims
    in_order = {m: dims[m] for m in MODALITIES if m in dims}
    names = tuple(options.label_names or label_columns)
    return Reading(names, in_order, aligned, samples(), files, notes, account=account)


def _table_in(folder: Path) -> Path:
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise DataError(
            f"{folder} holds {len(tables)} CSV files", expected="one", fix="give the CSV itself"
        )
    return tables[0]


def _read_rows(path: Path) -> tuple[_Rows, list[str]]:
    table = read_csv(path, _EXPECTED, strict=True)
    columns = table.columns
    distinct = set(columns)
    if len(distinct) != len(columns):
        found = ", ".join(columns)[:200]
        raise DataError(f"{path} has the columns {found}", expected=_EXPECTED)

    for row, line in zip(table.rows, table.lines, strict=True):
        where = f"{path}, line {line}"
        too_long = None in row
        too_short = None in row.values()
        if too_long or too_short:
            raise DataError(
                f"{where}: not as many cells as columns", expected=f"{len(columns)} cells"
            )

        # the id may become a file name: it must not lead out of the folder
        name = row.get("id", "a")
        inside = Path(name).name == name
        too_long = len(os.fsencode(name)) > LONGEST_NAME
        if not name or not inside or too_long or "\0" in name:
            raise DataError(
                f"{where}: id {name[:80]!r}",
                expected="an id that can be a file name: without / or .., and not too long",
            )

    if not table.rows:
        raise DataError(f"{path} has no rows", expected=_EXPECTED)
    return table.rows, columns


def _ids(path: Path, rows: _Rows, named: Mapping[str, str]) -> list[str]:
    """Return the id of each row; where there is none, the name of its first file."""
    if "id" in rows[0]:
        return [row["id"] for row in rows]

    ids = []
    for row in rows:
        files = [row[column] for column in named.values() if row[column].strip()]
        if not files:
            found = ", ".join(rows[0])[:200]
            raise DataError(
                f"{path} has the columns {found}",
                expected=f"{_EXPECTED}; or columns path, visual, audio or text with the names of "
                "files",
            )
        ids.append(Path(files[0].strip()).stem)
    return ids


# ---------------------------------------------------------------------- features


def _path_columns(rows: _Rows, columns: list[str]) -> dict[str, str]:
    """Return the columns that name files: modality, or ``path`` for all of them, -> column."""
    wanted: dict[str, tuple[str, ...]] = {"path": _PATHS}
    for m in MODALITIES:
        wanted[m] = (m, f"{m}_path", f"{m}_file")

    found: dict[str, str] = {}
    for what, names in wanted.items():
        for column in columns:
            if column.strip().lower() in names and _names_files(rows, column):
                found.setdefault(what, column)
    return found


def _names_files(rows: _Rows, column: str) -> bool:
    """Say whether every cell of a column names a file of features, but for empty ones."""
    cells = [row[column].strip().lower() for row in rows if row[column].strip()]
    return bool(cells) and all(cell.endswith(FILES) for cell in cells)


def _features(
    path: Path,
    rows: _Rows,
    ids: list[str],
    named: Mapping[str, str],
    account: Account,
    *,
    keep_going: bool,
) -> tuple[list[Features], list[Path]]:
    """Return where features come from, and the files for the provenance."""
    features: list[Features] = []
    files = [path]
    if "path" in named:
        whole = _files_in(path, rows, named["path"])
        features.append(Together(whole, account, keep_going=keep_going))

    for m in MODALITIES:
        if m in named:
            of_cells = _files_in(path, rows, named[m])
            features.append(PerSample(m, of_cells, account, keep_going=keep_going))
            continue

        # one array for all samples comes before a folder of one file per sample
        file = path.with_name(f"{m}.npy")
        folder = path.with_name(m)
        if file.exists():
            features.append(OneArray(m, file, len(rows)))
            files.append(file)
            if folder.is_dir():
                account.leave(path.name, f"folder beside {file.name} not used", folder.name)
        elif folder.is_dir():
            beside = [file_of(folder, name) for name in ids]
            of_rows = PerSample(m, beside, account, keep_going=keep_going)
            _leave_others(folder, beside, account)
            if of_rows.dims:
                features.append(of_rows)

    if not any(source.dims for source in features) and not keep_going:
        raise DataError(
            f"no features beside {path}",
            expected="folders visual, audio or text with <id>.npy files, or visual.npy and so on, "
            "or columns of these names with the names of files",
        )
    return features, files


def _files_in(path: Path, rows: _Rows, column: str) -> list[Path | None]:
    """Return the files that a column names; relative names are relative to the CSV."""
    files: list[Path | None] = []
    for row in rows:
        cell = row[column].strip()
        files.append(path.parent / cell if cell else None)
    return files


def _leave_others(folder: Path, used: list[Path | None], account: Account) -> None:
    """Count the files in a folder that belong to no row."""
    known = {file.name for file in used if file is not None}
    for file in sorted(folder.iterdir()):
        if file.name not in known and not file.name.startswith("."):
            account.leave(folder.name, "files of no row", file.name)


# ---------------------------------------------------------------------- labels


def _number(cell: str) -> float | None:
    try:
        return as_number(cell)
    except ValueError:
        return None


def _labels(
    path: Path, rows: _Rows, ids: list[str], columns: list[str], options: ConvertOptions
) -> list[UInt8[np.ndarray, "labels"] | None]:
    """Return the labels of each row; None where all its cells are empty."""
    labelled = []
    values = []
    for i, row in enumerate(rows):
        numbers = [_number(row[column]) for column in columns]
        known = [number is not None for number in numbers]
        if not any(known):
            continue

        # half a vector says neither yes nor no of the rest
        if not all(known):
            empty = columns[known.index(False)]
            raise DataError(
                f"{path}: sample {ids[i]!r} has no value for {empty!r} and one for others",
                expected="a number for every label, or for none",
            )
        labelled.append(i)
        values.append(numbers)

    labels: list[UInt8[np.ndarray, "labels"] | None] = [None] * len(rows)
    held = options.binarise(str(path), np.array(values, np.float64))
    for i, of_row in zip(labelled, held, strict=True):
        labels[i] = of_row
    return labels


def _label_columns(path: Path, rows: _Rows, columns: Parts, options: ConvertOptions) -> list[str]:
    """Return the label columns: those that the user names, or all of numbers."""
    # pandas writes its index into a column without a name
    others = [column for column in columns.unused() if column]
    wrong = {column: _first_wrong(rows, column) for column in others}
    if options.label_names is None:
        return [column for column in others if wrong[column] is None]

    # a column that the user names has to be a label
    chosen = pick_columns(str(path), others, options.label_names, canonical_label)
    for column in chosen:
        cell = wrong[column]
        if cell is not None:
            raise DataError(
                f"{path}: label {column!r} has the value {cell!r}",
                expected="a number in every row",
            )
    return chosen


def _first_wrong(rows: _Rows, column: str) -> str | None:
    """Return the first cell of a column that is no number; empty ones are unknown labels."""
    cells = [row[column] for row in rows if row[column].strip()]
    for cell in cells:
        if _number(cell) is None:
            return cell

    # a column without any value is no label either
    return None if cells else ""
