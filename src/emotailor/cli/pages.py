"""Pages of help: names to the left, words to the right, and no word is cut at any width."""

import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WIDEST = 100
"""Columns that a page of help uses at most."""

NARROW = 70
"""Columns below which words stand under their names instead of beside them."""

COLUMN = 28
"""Columns of the names, where words stand beside them."""

ITEM = re.compile(r"[a-z]+: ")
"""How a line of a list begins in a docstring."""

KINDS = {"list[Path]": "path", "list[str]": "text", "str": "text", "int": "N", "float": "number"}
"""What Python calls a kind of value -> what people do."""

Pair = tuple[str, str]
"""A name, and what is said of it."""


class Command(TyperCommand):
    """A command whose help is one of these pages."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        formatter.write(help_page(self, ctx))


class Group(TyperGroup):
    """A group of commands whose help is one of these pages."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        formatter.write(help_page(self, ctx))


class App(typer.Typer):
    """A command line all of whose commands have such pages."""

    def __init__(self, *, cls: type[TyperGroup] = Group, **settings: Any) -> None:
        super().__init__(cls=cls, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Add a command."""
        return super().command(name, **{"cls": Command, **settings})


def help_page(command: Any, context: Any) -> str:
    """Return the help of a command or of a group.

    Args:
        command: the command.
        context: its context, which knows by what it was called.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST)
    pieces = [_capital(piece) for piece in command.collect_usage_pieces(context)]
    usage = " ".join([context.command_path, *pieces])
    lines = [*wrapped(f"Usage: {usage}", width, indent="       "), ""]
    lines += _text(command.help or "", width)

    arguments: list[Pair] = []
    options: list[Pair] = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            section = arguments if parameter.param_type_name == "argument" else options
            section.append(_short(record))

    lines += _section("Arguments", arguments, width)
    lines += _section("Options", options, width)
    lines += _section("Commands", _commands(command, context), width)
    return "\n".join(lines).rstrip() + "\n"


def wrapped(text: str, width: int, *, indent: str = "") -> list[str]:
    """Return a text in lines of at most ``width`` columns; a longer word is left whole.

    Args:
        text: a paragraph.
        width: columns of a line.
        indent: what the lines behind the first begin with.
    """
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _text(text: str, width: int) -> list[str]:
    """Return what a command does, in lines; what looks like ``name: words`` makes a list."""
    lines: list[str] = []
    was_item = False
    for paragraph in _paragraphs(text):
        is_item = ITEM.match(paragraph) is not None
        # the lines of a list stand together, and a blank one ends it
        if was_item and not is_item:
            lines.append("")
        if is_item:
            lines += [f"  {line}" for line in wrapped(paragraph, width - 2, indent="  ")]
        else:
            lines += [*wrapped(paragraph, width), ""]
        was_item = is_item
    return [*lines, ""] if was_item else lines


def _paragraphs(text: str) -> Iterable[str]:
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        yield " ".join(paragraph.split())


def _capital(piece: str) -> str:
    """Return an argument in capital letters, as what stands for something."""
    return re.sub(r"\{(.*?)\}", lambda name: name[1].upper(), piece)


def _short(record: Sequence[str]) -> Pair:
    """Return a name and its words without marks that only programmers know."""
    name, words = record
    kind = re.sub(r" <(.*?)( range)?>$", r" \1", name)
    before, space, last = kind.rpartition(" ")
    kind = f"{before}{space}{KINDS.get(last, last)}"
    words = words.replace("x>=", "at least ").replace("  [", " [")
    return re.sub(r",(?=-)", ", ", kind), words


def _commands(command: Any, context: Any) -> list[Pair]:
    """Return the commands of a group, with the first sentence of each."""
    if not isinstance(command, TyperGroup):
        return []

    found = []
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if inner is None or inner.hidden:
            continue
        first = next(iter(_paragraphs(inner.help or "")))
        found.append((name, first))
    return found


def _section(title: str, pairs: Sequence[Pair], width: int) -> list[str]:
    """Return a titled list of names with their words; nothing where there is none."""
    if not pairs:
        return []

    # a column beside names leaves too little for words in a narrow terminal
    column = 6
    if width >= NARROW:
        longest = max(len(name) for name, _ in pairs)
        column = min(longest + 4, COLUMN)

    lines = [f"{title}:"]
    for name, words in pairs:
        # a name that is longer than its column has a line of its own
        text = wrapped(words, width - column)
        if len(name) + 4 <= column and text:
            lines.append(f"  {name}".ljust(column) + text.pop(0))
        else:
            lines.append(f"  {name}")
        lines += [" " * column + line for line in text]
    return [*lines, ""]
