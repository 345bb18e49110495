"""A column of names as features: for each name 1 where it is there, else 0, at every step."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float16

from emotailor.data.extraction import Extraction
from emotailor.data.readers.account import Account
from emotailor.data.readers.rows import Rows
from emotailor.data.sample import Modality, Sample
from emotailor.errors import DataError

MOST_NAMES = 1000
"""Names from which on a column is taken for text."""

_BETWEEN = re.compile(r"[\s,;]+")


class Flags:
    """Names in a column of a table, as zero-or-one features of a modality.

    The features are in the order of the names. A row without names has zeros; one of which a
    joined table says nothing lacks the modality.

    Args:
        m: the modality.
        rows: the table.
        column: names, separated by blanks, commas or semicolons.
        names: those that features stand for; None for all that are there, by letters.
        account: is told of names that no feature stands for.

    Attributes:
        names: those that features stand for.

    Raises:
        DataError: there is no such column, it has no names, or too many.
    """

    def __init__(
        self, m: Modality, rows: Rows, column: str, names: Sequence[str] | None, account: Account
    ) -> None:
        if column not in rows.columns:
            raise DataError(
                f"{rows.path} has no column {column!r}",
                expected=f"one of {', '.join(rows.columns)[:200]}",
            )

        self.modality = m
        self._held = [_names_in(cell) for cell in rows.column(column)]
        self._lacking = rows.lacking.get(column, frozenset())
        every = {name for of_row in self._held for name in of_row}
        self.names = tuple(sorted(every) if names is None else names)
        if not self.names or len(self.names) > MOST_NAMES:
            raise DataError(
                f"{rows.path}: the column {column!r} has {len(self.names)} different names",
                expected=f"1 to {MOST_NAMES} names, a few of them in each cell",
            )

        place_of = {name: place for place, name in enumerate(self.names)}
        if len(place_of) != len(self.names):
            raise DataError(f"names {', '.join(self.names)[:200]}", expected="distinct ones")
        for name in sorted(every - set(place_of)):
            account.leave(rows.path.name, f"names in {column} that are no feature", name)
        self._place_of = place_of

    @property
    def extraction(self) -> Extraction:
        """What a model must know of these features: which name each of them stands for."""
        return Extraction(extractor="names", settings={"names": list(self.names)})

    def of(self, row: int) -> Float16[np.ndarray, "names"] | None:
        """Return the features of a row; None where nothing is known of it."""
        if row in self._lacking:
            return None
        values = np.zeros(len(self.names), np.float16)
        places = [self._place_of[name] for name in self._held[row] if name in self._place_of]
        values[places] = 1
        return values

    def added_to(self, sample: Sample, row: int, words: int = 0) -> Sample:
        """Return a sample with these features at each step of its text, or else of the longest.

        Where it has no other modality, there is one step.

        Args:
            sample: of this row.
            row: its number.
            words: number of steps that its text is to have, where it has none yet.
        """
        values = self.of(row)
        if values is None:
            return sample

        # there may be nothing to be repeated at
        lengths = {m: len(x) for m, x in sample.sequences.items() if len(x)}
        longest = max(lengths.values(), default=1)
        steps = lengths.get("text", words or longest)
        repeated = np.repeat(values[None], steps, axis=0)  # (steps, names)
        return replace(sample, sequences={**sample.sequences, self.modality: repeated})


def _names_in(cell: str) -> list[str]:
    """Return the names in a cell."""
    return [name for name in _BETWEEN.split(cell) if name]
