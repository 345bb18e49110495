"""Whatever the program advises to type is a command that there is, with options that it has."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import emotailor
from emotailor.cli import app
from emotailor.models.table import SYSTEMS
from emotailor.training.run_config import RunConfig

ROOT = Path(emotailor.__file__).parent
COMMAND: Any = typer.main.get_command(app)
UsageError: Any = typer.BadParameter.__mro__[1]  # wherever typer has it from

PLACE = "PLACE"  # stands for what is filled in

OF_OTHERS = {"--upgrade", "--force-reinstall", "--no-deps", "--help", "--local-dir"}
"""Options of other programs, and the one that every command has."""


def texts() -> list[tuple[str, str]]:
    """Every text in the source that may be shown: file, and the text with its gaps filled."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docs = set()
        inner = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                docs.add(id(node.value))
            if isinstance(node, ast.JoinedStr):
                inner |= {id(part) for part in node.values}

        place = file.relative_to(ROOT).as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    str(part.value) if isinstance(part, ast.Constant) else PLACE
                    for part in node.values
                ]
                found.append((place, "".join(parts)))
                continue

            if not isinstance(node, ast.Constant) or id(node) in docs | inner:
                continue
            if isinstance(node.value, str):
                found.append((place, node.value))
    return found


TEXTS = texts()


def find(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words begin with, and the words behind it."""
    command = COMMAND
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        inner = command.commands.get(rest[0])
        if inner is None:
            raise AssertionError(f"no command {' '.join(words)!r}")
        command = inner
        rest.pop(0)
    return command, rest


def check(line: str, *, whole: bool = False) -> None:
    """Check that a line could be typed: its command, its options, their values are there.

    Args:
        line: from ``emotailor`` on.
        whole: whether nothing may be left to add.
    """
    program, *words = shlex.split(line)
    assert program == "emotailor"
    command, rest = find(words)
    try:
        command.make_context("emotailor", list(rest), resilient_parsing=not whole)
    except UsageError as error:
        raise AssertionError(f"{line}: {error}") from error

    known = {option for parameter in command.params for option in parameter.opts}
    known |= {option for parameter in command.params for option in parameter.secondary_opts}
    for word in rest:
        if word.startswith("-") and word not in OF_OTHERS:
            assert word.partition("=")[0] in known, f"{line}: no option {word}"


def advised() -> list[tuple[str, str]]:
    """Every command in a text: those between backticks, and those that a line ends with."""
    found = []
    for place, text in TEXTS:
        lines = re.findall(r"`(emotailor [^`]*)`", text)
        # what stands alone, such as "next: emotailor evaluate RUN"
        lines += re.findall(r"(?:^|: +)(emotailor [a-z][^`\n]*)$", text, re.MULTILINE)
        found += [(place, line) for line in lines]
    return found


ADVISED = advised()


def test_enough_is_found() -> None:
    assert len(TEXTS) > 3000
    assert len(ADVISED) > 25
    assert any("predict" in line for _, line in ADVISED)


@pytest.mark.parametrize(("place", "line"), ADVISED)
def test_every_command_in_a_message_can_be_typed(place: str, line: str) -> None:
    check(line)


def options(command: Any) -> set[str]:
    """The options of a command and of those below it."""
    found = {option for parameter in command.params for option in parameter.opts}
    found |= {option for parameter in command.params for option in parameter.secondary_opts}
    for inner in getattr(command, "commands", {}).values():
        found |= options(inner)
    return found


def test_every_option_in_a_message_is_one_of_ours() -> None:
    known = options(COMMAND) | OF_OTHERS
    wrong = []
    for place, text in TEXTS:
        if place.endswith((".css", "report/page.py")):
            continue
        named = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)
        wrong += [(place, option, text[:80]) for option in named if option not in known]
    assert wrong == []


def test_every_setting_in_a_message_is_one_of_ours() -> None:
    sections = {name: field.annotation for name, field in RunConfig.model_fields.items()}
    of_models = {key for system in SYSTEMS.values() for key in system.config.model_fields}
    seen = 0
    for place, text in TEXTS:
        for section, key in re.findall(r"--set (model|training|data|alignment)\.([a-z_]+)", text):
            seen += 1
            if section == "model":
                assert key in of_models, (place, text)
                continue
            fields = getattr(sections[section], "model_fields", {})
            assert key in fields, (place, text)
    assert seen > 5


def test_what_cannot_be_typed_is_found() -> None:
    check("emotailor predict RUN clip.npz --max-steps 60", whole=True)
    for line in (
        "emotailor foretell RUN",
        "emotailor data revert X",
        "emotailor predict RUN X --longest 60",
        "emotailor evaluate RUN --limit 3",
    ):
        with pytest.raises(AssertionError, match=r"no command|no option|No such option"):
            check(line)
    with pytest.raises(AssertionError, match="Missing parameter: out_path"):
        check("emotailor data convert X", whole=True)
