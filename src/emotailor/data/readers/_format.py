"""What a format is, and how a function of one's own becomes one."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from emotailor.data.readers._common import ConvertOptions, Reading
from emotailor.errors import ConfigError

Read = Callable[[Any, ConvertOptions], Reading]
_Reader = TypeVar("_Reader", bound=Callable[..., Any])
_OPTIONS = "__emotailor_options__"


@dataclass(frozen=True)
class Format:
    """A format that can be converted.

    Attributes:
        name: name on the command line and in the provenance.
        what: description in one line.
        read: function that opens a source.
        options: names of the ``ConvertOptions`` that the reader understands, besides ``limit``.
        by_role: whether a source may also be several paths, one per role.
    """

    name: str
    what: str
    read: Read
    options: frozenset[str]
    by_role: bool = False


def reader(*options: str) -> Callable[[_Reader], _Reader]:
    """Declare which options a reader of one's own understands.

    ``@reader("labels", "align")`` stands before a function that takes a path and a
    ``ConvertOptions`` and returns a ``Reading``. Options that are not declared are refused when a
    user gives them, so that none is ignored in silence. ``limit`` needs no declaration.

    Args:
        options: names of fields of ``ConvertOptions``.

    Raises:
        ConfigError: there is no such option.
    """
    known = [field.name for field in fields(ConvertOptions)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigError(
            f"a reader declares the options {', '.join(unknown)}",
            expected=f"some of {', '.join(known)}",
        )

    def declare(function: _Reader) -> _Reader:
        setattr(function, _OPTIONS, frozenset(options))
        return function

    return declare


def as_format(found: Any, name: str) -> Format:
    """Return what an object stands for, a ``Format`` or a function that reads, as ``name``.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(found, Format):
        return replace(found, name=name)
    if not callable(found):
        raise ConfigError(
            f"the reader {name!r} is a {type(found).__name__}",
            expected="a function that takes a path and a ConvertOptions and returns a Reading",
        )

    description = (inspect.getdoc(found) or "").strip()
    first_line = description.partition("\n")[0]
    return Format(
        name=name,
        what=first_line or f"what the reader {name} reads",
        read=found,
        options=getattr(found, _OPTIONS, frozenset()),
    )
