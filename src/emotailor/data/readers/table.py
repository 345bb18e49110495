"""A plain table: a CSV of ids, splits and labels, with features beside it.

my_data/
  samples.csv     id,split,happy,sad,...
  visual/<id>.npy (steps, dim) or (dim,); or <id>.npz with one array
  audio/...       a file that is not there is a missing modality
  text.npy        or, instead of a folder, one row (a vector) per row of the CSV
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from emotailor.data.readers._common import (
    Block,
    ConvertOptions,
    Reading,
    as_float32,
    canonical_split,
    pick_columns,
    require_file,
    unreadable,
)
from emotailor.data.sample import MODALITIES, Modality, Sample, canonical_label
from emotailor.errors import DataError

_EXPECTED = "a CSV with columns id, split and one per label"
_Rows = list[dict[str, str]]
_Fetch = Callable[[int, str], Float32[np.ndarray, "_ _"] | None]


def read_table(path: Path, options: ConvertOptions) -> Reading:
    """Open a CSV and the feature files beside it.

    Args:
        path: the CSV, or a folder that holds exactly one.
        options: ``label_names`` chooses the label columns; by default all numeric ones are.

    Raises:
        DataError: the CSV or a feature file is missing, damaged or does not fit.
    """
    path = _table_in(path) if path.is_dir() else path
    rows, columns = _read_rows(path)
    label_columns, notes = _label_columns(path, rows, columns, options)
    values = [[_number(row[c]) for c in label_columns] for row in rows]
    labels = options.binarise(str(path), np.array(values, np.float64))
    notes.append(options.rule)
    dims: dict[Modality, int] = {}
    fetch: dict[Modality, _Fetch] = {}
    files, all_vectors = [path], True
    for m in MODALITIES:
        file, folder = path.with_name(f"{m}.npy"), path.with_name(m)
        if file.exists():
            dims[m], fetch[m] = _from_array(file, m, len(rows))
            files.append(file)
        elif folder.is_dir() and (found := _first_width(folder, [r["id"] for r in rows])):
            dims[m], fetch[m] = found, _from_folder(folder)
            all_vectors = False
    if not dims:
        raise DataError(
            f"no features beside {path}",
            expected="folders visual, audio or text with <id>.npy files, or visual.npy and so on",
        )
    aligned = all_vectors if options.align is None else options.align
    if options.align is None and not all_vectors:
        notes.append("taken as unaligned; pass --align if step i is one moment in all modalities")

    def samples() -> Iterator[tuple[str, Sample]]:
        outside = 0
        for i, row in enumerate(rows):
            split = canonical_split(row["split"])
            if split is None:
                outside += 1
                continue
            found = {m: get(i, row["id"]) for m, get in fetch.items()}
            sequences = {m: s for m, s in found.items() if s is not None}
            yield split, Sample(row["id"], sequences, labels[i])
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
    require_file(path, _EXPECTED)
    with unreadable(path, _EXPECTED), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        columns = list(reader.fieldnames or [])
        if not {"id", "split"} <= set(columns) or len(set(columns)) != len(columns):
            raise DataError(
                f"{path} has the columns {', '.join(columns)[:200]}", expected=_EXPECTED
            )
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}, line {reader.line_num}: not as many cells as columns",
                    expected=f"{len(columns)} cells",
                )
            if not row["id"] or Path(row["id"]).name != row["id"] or "\0" in row["id"]:
                raise DataError(
                    f"{path}, line {reader.line_num}: id {row['id']!r}",
                    expected="an id that can be a file name, without / or ..",
                )
            rows.append(row)
    if not rows:
        raise DataError(f"{path} has no rows", expected=_EXPECTED)
    return rows, columns


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _label_columns(
    path: Path, rows: _Rows, columns: list[str], options: ConvertOptions
) -> tuple[list[str], list[str]]:
    """Return the label columns, and a note on those that are not used."""
    others = [c for c in columns if c not in ("id", "split")]
    wrong = {c: next((r[c] for r in rows if _number(r[c]) is None), None) for c in others}
    if options.label_names is not None:
        chosen = pick_columns(str(path), others, options.label_names, canonical_label)
        for column in chosen:
            if wrong[column] is not None:
                raise DataError(
                    f"{path}: label {column!r} has the value {wrong[column]!r}",
                    expected="a number in every row",
                )
        return chosen, []
    chosen = [c for c in others if wrong[c] is None]
    if not chosen:
        raise DataError(f"{path} has no numeric column besides id and split", expected=_EXPECTED)
    unused = [c for c in others if c not in chosen]
    return chosen, [f"columns not used, not numeric: {', '.join(unused)}"] if unused else []


def _from_array(file: Path, modality: Modality, count: int) -> tuple[int, _Fetch]:
    require_file(file, "an array with one row per row of the CSV")
    with unreadable(file, "a complete .npy file of numbers"):
        block = Block(str(file), np.load(file, mmap_mode="r", allow_pickle=False), vectors=True)
    if len(block) != count:
        raise DataError(f"{file} has {len(block)} rows", expected=f"the {count} of the CSV")
    return block.dim, lambda i, _: block[i]


def _from_folder(folder: Path) -> _Fetch:
    return lambda _, name: _sequence(folder, name)


def _sequence(folder: Path, name: str) -> Float32[np.ndarray, "_ _"] | None:
    """Load the sequence of one sample; None where there is no file."""
    file = next((f for s in (".npy", ".npz") if (f := folder / (name + s)).exists()), None)
    if file is None:
        return None
    require_file(file, "an array of numbers")
    expected = "a complete .npy file, or .npz with one array, of numbers"
    with unreadable(file, expected), file.open("rb") as stream:
        array = np.load(stream, allow_pickle=False)
        if isinstance(array, np.lib.npyio.NpzFile):
            with array:
                if len(array.files) != 1:
                    raise DataError(f"{file} holds {array.files}", expected="one array")
                array = array[array.files[0]]
        if array.ndim == 1:
            array = array[None]
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise DataError(
                f"{file}: {array.dtype} of shape {array.shape}",
                expected="numbers of shape (steps, dim)",
            )
        return as_float32(array)


def _first_width(folder: Path, names: list[str]) -> int | None:
    first = (s for n in names if (s := _sequence(folder, n)) is not None)
    found = next(first, None)
    return None if found is None else found.shape[1]
