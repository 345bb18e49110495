"""Text that comes from files: ids, names of labels, paths, lines of other programs.

Such a text may hold anything: codes that move the cursor of a terminal, marks that turn the
direction of a line, a formula that a spreadsheet runs. Here is what makes it harmless.

- A *name* (an id, a label) has no control characters: :func:`is_name` says so, and whatever reads
  names refuses others.
- What is printed goes through :func:`visible`.
- What goes into a table for spreadsheets goes through :func:`to_cell`, and back through
  :func:`from_cell`.
"""

import re
import unicodedata

# controls and the two separators of Unicode break a line; halves of a pair are no characters
_NO_NAME = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPES = {"\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\n": "\\n"}

# a minus begins many ids of videos; behind it only these make more than a number or a name
_FORMULA = re.compile("[=+@\t\r]|-.*[(|!\"'*/+=@,;]", re.DOTALL)

NAME = "text without control characters and line breaks"


def is_name(text: str) -> bool:
    """Whether a text can be the name of something: not empty, and without control characters."""
    return bool(text) and not _NO_NAME.search(text)


def plural(count: int, what: str) -> str:
    """Return a number and what it counts: ``1 sample``, ``2,000 samples``."""
    ending = "" if count == 1 else "s"
    return f"{count:,} {what}{ending}"


def sentence(text: str) -> str:
    """Return a note as a sentence."""
    capitalised = text[:1].upper() + text[1:]
    return capitalised if text.endswith(".") else f"{capitalised}."


def visible(text: str) -> str:
    r"""Return a text in which every character shows, but for line breaks, which stay.

    What does not show is written as in JSON: ``\u001b`` for the escape that begins the codes of a
    terminal. Inside JSON, the meaning stays the same.
    """
    # nearly every text is harmless, and this is fast
    if text.isprintable():
        return text

    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    return character if _shows(character) else _escaped(character)


def _shows(character: str) -> bool:
    """Whether a character is seen, or is a space or a joiner that real words have."""
    if character.isprintable() or character in "\n\u200c\u200d":
        return True
    return unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    known = _ESCAPES.get(character)
    if known is not None:
        return known

    # JSON has four digits, and pairs beyond them
    pair = character.encode("utf-16-be", "surrogatepass")
    codes = [pair[i : i + 2].hex() for i in range(0, len(pair), 2)]
    return "".join(f"\\u{code}" for code in codes)


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: a file's name may have bytes that are no characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def indented(text: str) -> str:
    """Return a text whose lines behind the first are set in.

    No file can then forge a line that seems to be one of ours.
    """
    return text.replace("\n", "\n  ")


def to_cell(text: str) -> str:
    """Return a text as a cell of a CSV that no spreadsheet takes for a formula.

    A quotation mark in front says to a spreadsheet that the cell is text.
    """
    return f"'{text}" if _is_formula(text) else text


def from_cell(cell: str) -> str:
    """Return the text that :func:`to_cell` made a cell of."""
    if cell.startswith("'") and _is_formula(cell):
        return cell[1:]
    return cell


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a text, also behind marks that say that it is text."""
    return bool(_FORMULA.match(text.lstrip("'")))
