"""The rows of a table: a CSV with an id for each, and further CSVs that are joined by id."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from emotailor.data.readers._common import read_csv
from emotailor.data.readers.account import Account
from emotailor.errors import DataError

EXPECTED = "a CSV with columns id, split and one per label"

LONGEST_NAME = 240
"""Most bytes of an id that becomes the name of a file: file systems take 255, with the ending."""

_SEGMENT = ("segment", "segment_id", "segment_number")
_CLIP = ("clip", "clip_id", "clip_number")


@dataclass(frozen=True)
class Rows:
    """The rows of a table.

    Attributes:
        path: the CSV.
        columns: names of the columns, in their order.
        cells: column -> cell, per row.
        lines: number of the line at which each row ends, for messages.
        ids: the id of each row; empty where the table has none.
        of_ids: the columns that ids are made of.
        lacking: column that was joined -> the rows of which the other table says nothing.
    """

    path: Path
    columns: list[str]
    cells: list[dict[str, str]]
    lines: list[int]
    ids: list[str] = field(default_factory=list)
    of_ids: tuple[str, ...] = ()
    lacking: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cells)

    def column(self, name: str) -> list[str]:
        """Return the cells of a column, without the blanks around them."""
        return [row[name].strip() for row in self.cells]


def read_rows(path: Path) -> Rows:
    """Read a CSV whose rows have ids, or none.

    Where ids repeat and a column numbers the segments, an id is that of the video: ``video[3]`` for
    rows of the SDK's label file, ``video$_$3`` for clips of the raw transcript.

    Raises:
        DataError: it is missing or damaged, has no rows, or an id cannot be the name of a file.
    """
    table = read_csv(path, EXPECTED, strict=True)
    columns = table.columns
    distinct = set(columns)
    if len(distinct) != len(columns):
        found = ", ".join(columns)[:200]
        raise DataError(f"{path} has the columns {found}", expected=EXPECTED)

    for row, line in zip(table.rows, table.lines, strict=True):
        too_long = None in row
        too_short = None in row.values()
        if too_long or too_short:
            raise DataError(
                f"{path}, line {line}: not as many cells as columns",
                expected=f"{len(columns)} cells",
            )
    if not table.rows:
        raise DataError(f"{path} has no rows", expected=EXPECTED)

    rows = Rows(path, columns, table.rows, table.lines)
    if "id" not in columns:
        return rows
    names = [row["id"] for row in table.rows]
    rows = replace(rows, ids=names, of_ids=("id",))
    _refuse_unusable(rows)
    return rows if len(set(names)) == len(names) else _numbered(rows)


def _numbered(rows: Rows) -> Rows:
    """Return rows whose ids have the number of a segment; unchanged where no column has it."""
    names = [row["id"] for row in rows.cells]
    for spelling, known in (("{}[{}]", _SEGMENT), ("{}$_${}", _CLIP)):
        for column in rows.columns:
            if column.lower() in known:
                numbers = _numbers(rows, column)
                pairs = zip(names, numbers, strict=True)
                ids = [spelling.format(*pair) for pair in pairs]
                return replace(rows, ids=ids, of_ids=("id", column))
    return rows


def _numbers(rows: Rows, column: str) -> list[int]:
    """Return the whole numbers of a column."""
    numbers = []
    for cell, line in zip(rows.column(column), rows.lines, strict=True):
        if not cell.isdecimal():
            raise DataError(
                f"{rows.path}, line {line}: {column} {cell[:80]!r}, where ids repeat",
                expected="the number of the segment, or ids that are those of one row each",
            )
        numbers.append(int(cell))
    return numbers


def _refuse_unusable(rows: Rows) -> None:
    """Refuse ids that may not become the name of a file: none must lead out of a folder."""
    for name, line in zip(rows.ids, rows.lines, strict=True):
        inside = Path(name).name == name
        too_long = len(os.fsencode(name)) > LONGEST_NAME
        if not name or not inside or too_long or "\0" in name:
            raise DataError(
                f"{rows.path}, line {line}: id {name[:80]!r}",
                expected="an id that can be a file name: without / or .., and not too long",
            )


def joined(rows: Rows, path: Path, account: Account) -> Rows:
    """Return rows with the columns of another CSV, found by id.

    A column that both have stays as it is. Cells of rows that the other does not have are empty.

    Args:
        rows: the table.
        path: the other CSV.
        account: is told what belongs to no row, and where the tables contradict each other.

    Raises:
        DataError: one of them has no ids or an id twice, or the other is damaged.
    """
    other = read_rows(path)
    for table in (rows, other):
        if not table.ids:
            found = ", ".join(table.columns)[:200]
            raise DataError(
                f"{table.path} has the columns {found}", expected="a column id, to join tables by"
            )

    # one of them may have a single segment of each video
    if len(rows.of_ids) > len(other.of_ids):
        other = _numbered(other)
    elif len(other.of_ids) > len(rows.of_ids):
        rows = _numbered(rows)
    for table in (rows, other):
        times = Counter(table.ids)
        twice = [name for name, count in times.items() if count > 1]
        if twice:
            raise DataError(f"{table.path} holds {twice[0]!r} twice", expected="every id once")

    place_of = {name: place for place, name in enumerate(other.ids)}
    known = set(rows.ids)
    for name in other.ids:
        if name not in known:
            account.leave(path.name, "rows of no sample", name)

    common = [name for name in other.columns if name in rows.columns]
    added = [name for name in other.columns if name not in rows.columns]
    if not known & set(other.ids):
        raise DataError(
            f"no id of {path} is one of {rows.path}: {other.ids[0]!r} and {rows.ids[0]!r}",
            expected="the same ids in both",
        )

    cells = []
    lacking = []
    for place, (name, row) in enumerate(zip(rows.ids, rows.cells, strict=True)):
        there = place_of.get(name)
        if there is None:
            lacking.append(place)
            cells.append({**row, **dict.fromkeys(added, "")})
            continue

        theirs = other.cells[there]
        if any(theirs[column].strip() != row[column].strip() for column in common):
            account.leave(path.name, "rows that say something else of a sample", name)
        cells.append({**row, **{column: theirs[column] for column in added}})

    absent = dict.fromkeys(added, frozenset(lacking))
    return replace(
        rows, columns=[*rows.columns, *added], cells=cells, lacking={**rows.lacking, **absent}
    )
