"""What a source holds, what of it was used, and what was dropped on the way.

A reader puts whatever it finds into an :class:`Account` before it looks for what it needs. What
nobody took out is then named, whatever it is: no reader has to think of what it does not know.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emotailor.text import plural

MOST_NAMED = 8
"""Names in one note; all of them are in the provenance."""

_EXAMPLES = 3
_SHAPES = 3
_LONGEST_NAME = 60


class Parts(Mapping[str, Any]):
    """What lies in a file or a part of one, by name. Whoever takes a part out has used it.

    Asking whether a part is there, or ``peek``, does not count as use.

    Args:
        held: name -> part, or how it looks where it was not read.
    """

    def __init__(self, held: Mapping[Any, Any]) -> None:
        self._held = held
        self._used: set[Any] = set()

    def __getitem__(self, name: str) -> Any:
        part = self._held[name]
        self._used.add(name)
        return part

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def peek(self, name: str) -> Any:
        """Return a part without using it; None where there is none."""
        return self._held.get(name)

    def use(self, names: Iterable[str]) -> None:
        """Count parts as used that were read in another way."""
        self._used.update(names)

    @property
    def used(self) -> set[str]:
        """The names of the parts that were taken out."""
        return {str(name) for name in self._used}

    def unused(self) -> dict[str, str]:
        """Return the parts that nobody took out, and how they look."""
        return {str(name): look(self._held[name]) for name in self if name not in self._used}


@dataclass
class _Counted:
    """How many, and the first few of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(name)

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return ", ".join(self.examples) + more


class Account:
    """What becomes of everything in a source.

    Attributes:
        columns: what the source itself calls the labels, in their order; None where they are called
            there as in the ``Reading``.
        opened: files that were read and are too many for ``Reading.files``.
    """

    def __init__(self) -> None:
        self.columns: Sequence[str] | None = None
        self.opened: set[Path] = set()
        self._held: dict[str, list[Parts]] = {}
        self._dropped: dict[tuple[str, str], _Counted] = {}
        self._left: dict[tuple[str, str], _Counted] = {}

    def hold(self, what: str, held: Mapping[Any, Any] | Iterable[str]) -> Parts:
        """Take in what a file holds; what is not taken out of the result is named.

        Args:
            what: what it is and where, such as ``arrays of data.npz``. Parts of equal name in
                several places that are called alike are named once.
            held: name -> part; or names alone, as of columns.
        """
        if not isinstance(held, Mapping):
            held = dict.fromkeys(held)
        parts = Parts(held)
        self._held.setdefault(what, []).append(parts)
        return parts

    def drop(self, what: str, why: str, name: str) -> None:
        """Count something that is not stored.

        Args:
            what: ``sample`` or ``segment``.
            why: such as ``in no split``.
            name: which one.
        """
        counted = self._dropped.setdefault((what, why), _Counted())
        counted.add(name)

    def leave(self, place: str, what: str, name: str) -> None:
        """Count a row, or another thing of which there are many, that was of no use.

        Args:
            place: name of the file.
            what: such as ``rows of no sample``.
            name: which one.
        """
        counted = self._left.setdefault((place, what), _Counted())
        counted.add(name)

    @property
    def dropped(self) -> int:
        """How many samples were dropped."""
        return sum(counted.count for counted in self._dropped.values())

    def unused(self) -> dict[str, dict[str, str]]:
        """Return what was not used: where -> name -> how it looks."""
        found = {}
        for what, places in self._held.items():
            # a part that was used in one place is of use
            used = set().union(*(parts.used for parts in places))
            merged = _merged([parts.unused() for parts in places])
            left = {name: seen for name, seen in merged.items() if name not in used}
            if left:
                found[what] = left
        return found

    def notes(self) -> list[str]:
        """Return a line for each reason to drop something, and each place with something unused."""
        lines = []
        for (what, why), counted in self._dropped.items():
            how_many = plural(counted.count, what)
            lines.append(f"dropped {how_many} {why}: {counted}")

        for (place, what), counted in self._left.items():
            lines.append(f"{place}: {counted.count} {what}: {counted}")

        for what, names in self.unused().items():
            listed = _listed(names)
            lines.append(f"{what} not used: {listed}")
        return lines

    def stored(self) -> dict[str, Any]:
        """Return everything as JSON has it, without the limits of the notes."""
        dropped = []
        for (what, why), counted in self._dropped.items():
            dropped.append({"what": f"{what}s {why}", **vars(counted)})

        # what was left is told in the same form
        for (place, what), counted in self._left.items():
            dropped.append({"what": f"{place}: {what}", **vars(counted)})
        return {"dropped": dropped, "not_used": self.unused()}


def renamed(sources: Sequence[str], stored: Sequence[str]) -> dict[str, str]:
    """Return the labels that are stored under another name: theirs -> ours."""
    pairs = zip(sources, stored, strict=True)
    return {theirs: ours for theirs, ours in pairs if theirs != ours}


def look(part: Any) -> str:
    """Say how a part looks, in a few characters; nothing where only its name is known."""
    if part is None:
        return ""
    if isinstance(part, str):
        return part[:_LONGEST_NAME]
    if isinstance(part, np.ndarray | np.generic) or hasattr(part, "shape"):
        shape = tuple(part.shape)
        return str(shape) if shape else "one value"
    if isinstance(part, list | tuple | dict | set | Mapping):
        return plural(len(part), "item")
    if isinstance(part, int | float):
        return str(part)
    return type(part).__name__


def _merged(places: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Put together how parts of equal name look in several places."""
    looks: dict[str, list[str]] = {}
    for names in places:
        for name, seen in names.items():
            known = looks.setdefault(name, [])
            if seen and seen not in known:
                known.append(seen)

    merged = {}
    for name, known in looks.items():
        more = " and others" if len(known) > _SHAPES else ""
        merged[name] = " + ".join(known[:_SHAPES]) + more
    return merged


def _listed(names: Mapping[str, str]) -> str:
    """Return the first few names with how they look."""
    told = []
    for name, seen in list(names.items())[:MOST_NAMED]:
        called = name[:_LONGEST_NAME] or "(one without a name)"
        told.append(f"{called} {seen}".rstrip())

    more = len(names) - len(told)
    if more:
        told.append(f"and {more} more")
    return ", ".join(told)
