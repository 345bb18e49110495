"""A plain table: a CSV of ids, splits and labels, with features beside it.

my_data/
  samples.csv     id,split,happy,sad,...
  visual/<id>.npy (steps, dim) or (dim,); or <id>.npz with one array
  audio/...       a file that is not there is a missing modality
  text.npy        or, instead of a folder, one row (a vector) per row of the CSV
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from emotailor.data.readers._common import (
    Block,
    ConvertOptions,
    Reading,
    as_float,
    as_number,
    canonical_split,
    pick_columns,
    read_csv,
    require_file,
    unreadable,
)
from emotailor.data.readers.safe.npy import load_npz
from emotailor.data.sample import MODALITIES, Modality, Sample, canonical_label
from emotailor.errors import DataError

LONGEST_NAME = 240
"""Most bytes of an id that becomes the name of a file: file systems take 255, with the ending."""

_EXPECTED = "a CSV with columns id, split and one per label"
_Rows = list[dict[str, str]]
_Fetch = Callable[[int, str], Float[np.ndarray, "_ _"] | None]


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
    label_columns, notes = _label_columns(path, rows, columns, options)

    labels = _labels(path, rows, label_columns, options)
    if label_columns:
        notes.append(options.rule)
    else:
        notes.append("no column of labels: the samples are for prediction alone")

    dims: dict[Modality, int] = {}
    fetch: dict[Modality, _Fetch] = {}
    files = [path]
    all_vectors = True
    for m in MODALITIES:
        # one array for all samples comes before a folder of one file per sample
        file = path.with_name(f"{m}.npy")
        folder = path.with_name(m)
        if file.exists():
            dims[m], fetch[m] = _from_array(file, len(rows))
            files.append(file)
            continue

        shape = _first_shape(folder, rows) if folder.is_dir() else None
        if shape is not None:
            dims[m] = shape[1]
            fetch[m] = _from_folder(folder, shape)
            all_vectors = False

    if not dims:
        raise DataError(
            f"no features beside {path}",
            expected="folders visual, audio or text with <id>.npy files, or visual.npy and so on",
        )

    # vectors are sequences of one step, and so of equal length
    aligned = options.align
    if aligned is None:
        aligned = all_vectors
        if not all_vectors:
            notes.append(
                "taken as unaligned; pass --align if step i is one moment in all modalities"
            )

    def samples() -> Iterator[tuple[str, Sample]]:
        outside = 0
        for i, row in enumerate(rows):
            split = canonical_split(row["split"])
            if split is None:
                outside += 1
                continue

            name = row["id"]
            sequences = {}
            for m, get in fetch.items():
                sequence = get(i, name)
                # a file that is not there is a missing modality
                if sequence is not None:
                    sequences[m] = sequence
            yield split, Sample(name, sequences, labels[i])

        # known only now that all rows were seen
        if outside:
            notes.append(f"{outside} samples are in no split and were dropped")

    names = tuple(options.label_names or label_columns)
    return Reading(names, dims, aligned, samples(), files, notes)


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
    if not {"id", "split"} <= distinct or len(distinct) != len(columns):
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

        # the id becomes a file name: it must not lead out of the folder
        name = row["id"]
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


def _number(cell: str) -> float | None:
    try:
        return as_number(cell)
    except ValueError:
        return None


def _labels(
    path: Path, rows: _Rows, columns: list[str], options: ConvertOptions
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
                f"{path}: sample {row['id']!r} has no value for {empty!r} and one for others",
                expected="a number for every label, or for none",
            )
        labelled.append(i)
        values.append(numbers)

    labels: list[UInt8[np.ndarray, "labels"] | None] = [None] * len(rows)
    held = options.binarise(str(path), np.array(values, np.float64))
    for i, of_row in zip(labelled, held, strict=True):
        labels[i] = of_row
    return labels


def _label_columns(
    path: Path, rows: _Rows, columns: list[str], options: ConvertOptions
) -> tuple[list[str], list[str]]:
    """Return the label columns, and a note on those that are not used."""
    # pandas writes its index into a column without a name
    others = [column for column in columns if column not in ("", "id", "split")]
    wrong = {column: _first_wrong(rows, column) for column in others}

    # a column that the user names has to be a label
    if options.label_names is not None:
        chosen = pick_columns(str(path), others, options.label_names, canonical_label)
        for column in chosen:
            cell = wrong[column]
            if cell is not None:
                raise DataError(
                    f"{path}: label {column!r} has the value {cell!r}",
                    expected="a number in every row",
                )
        return chosen, []

    chosen = []
    unused = []
    for column in others:
        if wrong[column] is None:
            chosen.append(column)
        else:
            unused.append(column)
    notes = []
    if unused:
        notes.append(f"columns not used, not numeric: {', '.join(unused)}")
    return chosen, notes


def _first_wrong(rows: _Rows, column: str) -> str | None:
    """Return the first cell of a column that is no number; empty ones are unknown labels."""
    cells = [row[column] for row in rows if row[column].strip()]
    for cell in cells:
        if _number(cell) is None:
            return cell

    # a column without any value is no label either
    return None if cells else ""


def _from_array(file: Path, count: int) -> tuple[int, _Fetch]:
    require_file(file, "an array with one row per row of the CSV")
    with unreadable(file, "a complete .npy file of numbers"):
        array = np.load(file, mmap_mode="r", allow_pickle=False)

    block = Block(str(file), array, vectors=True)
    rows = len(block)
    if rows != count:
        raise DataError(f"{file} has {rows} rows", expected=f"the {count} of the CSV")

    # found by the number of the row, whatever the id
    return block.dim, lambda i, _: block[i]


def _from_folder(folder: Path, first: tuple[int, ...]) -> _Fetch:
    def fetch(_: int, name: str) -> Float[np.ndarray, "_ _"] | None:
        sequence = _sequence(folder, name)
        if sequence is not None:
            _refuse_turned(folder, name, sequence.shape, first)
        return sequence

    return fetch


def _refuse_turned(folder: Path, name: str, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
    """Refuse a sequence whose rows, not its columns, are as many as in the first one."""
    steps, dim = shape
    turned = dim != first[1] and steps in first
    if turned:
        raise DataError(
            f"{folder.name} of {name!r} has the shape {shape}, and the first one {first}",
            expected="(steps, dim), with the same dim in every file",
            fix="turn the arrays that lie as (dim, steps)",
        )


def _sequence(folder: Path, name: str) -> Float[np.ndarray, "_ _"] | None:
    """Load the sequence of one sample; None where there is no file."""
    files = [folder / f"{name}.npy", folder / f"{name}.npz"]
    present = [file for file in files if file.exists()]
    if not present:
        return None

    file = require_file(present[0], "an array of numbers")
    array = _load(file)
    if array.ndim == 1:
        array = array[None]  # (1, dim)

    numeric = array.dtype.kind in "fiub"
    if array.ndim != 2 or not numeric:
        raise DataError(
            f"{file}: {array.dtype} of shape {array.shape}",
            expected="numbers of shape (steps, dim)",
        )
    return as_float(array)


def _load(file: Path) -> np.ndarray:
    """Return the array in a ``.npy`` file, or the only one in a ``.npz`` file."""
    expected = "a complete .npy file, or .npz with one array, of numbers"
    if file.suffix == ".npz":
        arrays, names = load_npz(file, expected)
        if len(names) != 1:
            raise DataError(f"{file} holds {names[:8]}", expected="one array")
        return arrays[names[0]]

    with unreadable(file, expected), file.open("rb") as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return np.asarray(array)


def _first_shape(folder: Path, rows: _Rows) -> tuple[int, ...] | None:
    """Return the steps and features of the first sample that has a file."""
    for row in rows:
        sequence = _sequence(folder, row["id"])
        if sequence is not None:
            return sequence.shape
    return None
