"""A column of a table that holds what is said in each row."""

import difflib
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from emotailor.data.readers._common import ConvertOptions
from emotailor.data.readers.rows import Rows
from emotailor.data.sample import Sample
from emotailor.encoders.words import words_of
from emotailor.errors import DataError


class Said:
    """What is said in each row of a table.

    Args:
        rows: the table.
        column: name of the column.
        by_word: whether there is to be a step for each word; else one for all of them.

    Attributes:
        column: name of the column.
    """

    def __init__(self, rows: Rows, column: str, *, by_word: bool) -> None:
        self.column = column
        self._texts = rows.column(column)
        self._by_word = by_word

    @classmethod
    def in_column(cls, rows: Rows, options: ConvertOptions) -> "Said | None":
        """Return what the column holds that the options name; None where they name none.

        Raises:
            DataError: there is no such column.
        """
        wanted = options.text_column
        if wanted is None:
            return None

        # people do not remember how they wrote it
        for column in rows.columns:
            if column.lower() == wanted.strip().lower():
                return cls(rows, column, by_word=options.pooling == "words")

        close = difflib.get_close_matches(wanted.lower(), rows.columns, n=1, cutoff=0.4)
        raise DataError(
            f"{rows.path} has no column {wanted!r}",
            expected=f"one of its columns: {', '.join(rows.columns)[:200]}",
            fix=f"did you mean {close[0]!r}?" if close else "name the column with --text-column",
        )

    @property
    def lengths(self) -> Int64[np.ndarray, "rows"]:
        """Number of steps of each row; 0 where nothing is said."""
        counts = [len(words_of(text)) for text in self._texts]
        lengths = np.array(counts, np.int64)
        return lengths if self._by_word else np.minimum(lengths, 1)

    def added_to(self, sample: Sample, row: int) -> Sample:
        """Return a sample with what is said in a row, and its words where they are steps."""
        text = self._texts[row]
        words = words_of(text) if self._by_word else None
        return replace(sample, words=words, about={**sample.about, "transcript": text})
