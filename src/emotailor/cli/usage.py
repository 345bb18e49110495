"""What is said of wrong usage: what was found, what is meant, and where the help is."""

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from emotailor.errors import EmotailorError
from emotailor.meant import plain

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""The class of all errors of usage; which library it is of depends on the version of typer."""

COMMANDS: Mapping[str, str] = {
    "fit": "train",
    "run": "train",
    "resume": "train",
    "eval": "evaluate",
    "score": "evaluate",
    "test": "evaluate",
    "validate": "data validate",
    "infer": "predict",
    "label": "predict",
    "classify": "predict",
    "compare": "benchmark",
    "ablation": "ablate",
    "ablations": "ablate",
    "plot": "figures",
    "figure": "figures",
    "convert": "data convert",
    "inspect": "data inspect",
    "synthesize": "data synthesize",
    "datasets": "data",
    "systems": "models",
    "model": "models",
    "list": "models",
    "new": "models new",
    "info": "doctor",
    "check": "doctor",
    "example": "demo",
    "version": "--version",
}
"""What people call a command -> its name."""

OPTIONS: Mapping[str, str] = {
    "dataset": "--data",
    "input": "--data",
    "output": "--out",
    "output-dir": "--out",
    "system": "--model",
    "systems": "--models",
    "model": "--models",
    "models": "--model",
    "gpu": "--device gpu",
    "cuda": "--device cuda",
    "cpu": "--device cpu",
    "threshold": "--thresholds",
    "n-seeds": "--seeds",
    "runs": "--seeds",
    "workers": "--jobs",
    "modality": "--modalities",
    "cfg": "--config",
    "force": "--overwrite",
    "metric": "--metric",
    "metrics": "--metric",
    "variant": "--variants",
}
"""What people call an option -> how it is given here."""

_NUMBER = re.compile(r"Input should be a valid (integer|number)|is not a valid (int|float)")
_BOUND = re.compile(r"(?:greater than or equal to |x>=)([\d.]+\d|\d)")


def explain(error: Any) -> EmotailorError:
    """Return the message for an error of usage."""
    context = error.ctx
    path = "emotailor" if context is None else context.command_path
    help_line = f"`{path} --help` lists what there is"

    option = getattr(error, "option_name", None)
    found = error.format_message().rstrip(".")
    if option is not None and found.startswith("No such option"):
        return _no_option(option, context, help_line)
    if found.startswith("No such command"):
        return _no_command(found, context, help_line)
    if found.startswith("Invalid value"):
        return _wrong_value(error, help_line)

    if found.startswith("Missing"):
        return _missing(error.param, path, help_line)

    text = found[:1].lower() + found[1:]
    return EmotailorError(text, fix=help_line)


def _missing(parameter: Any, path: str, help_line: str) -> EmotailorError:
    """Return the message where an option or an argument is not given."""
    what = (parameter.help or "").rstrip(".")
    what = what[:1].lower() + what[1:]
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name).upper()
        return EmotailorError(f"{path} needs {name}", expected=what, fix=help_line)

    option = max(parameter.opts, key=len)
    given = _path_given(sys.argv, path)
    fix = f"did you mean {option} {given}?" if given else help_line
    return EmotailorError(f"{path} needs {option}", expected=f"{option}: {what}", fix=fix)


def _path_given(arguments: Sequence[str], command: str) -> str | None:
    """Return the path right behind a command, where an option for it is missing."""
    words = command.split()[1:]
    behind = list(arguments[1:])
    if behind[: len(words)] != words:
        return None

    rest = behind[len(words) :]
    is_path = bool(rest) and not rest[0].startswith("-") and Path(rest[0]).exists()
    return rest[0] if is_path else None


def _no_command(found: str, context: Any, help_line: str) -> EmotailorError:
    """Return the message for a command that does not exist."""
    match = re.search(r"'(.*?)'", found)
    name = plain(match[1]) if match else ""
    known = [] if context is None else _commands(context)
    path = "emotailor" if context is None else context.command_path

    # what is the same in other words, then a slip of the pen
    at_root = path == "emotailor"
    meant = COMMANDS.get(name) if at_root else None
    if meant is None:
        close = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
        meant = close[0] if close else None

    if meant is None:
        return EmotailorError(f"no command {name!r}", expected=f"one of {', '.join(known)}")
    return EmotailorError(f"no command {name!r}", fix=f"did you mean `{path} {meant}`?")


def _commands(context: Any) -> list[str]:
    """Return the commands that people type; hidden ones are for programs."""
    group = context.command
    names = sorted(group.list_commands(context))
    return [name for name in names if not group.get_command(context, name).hidden]


def _no_option(option: str, context: Any, help_line: str) -> EmotailorError:
    """Return the message for an option that does not exist: another one, or a setting."""
    found = f"{context.command_path} has no option {option}"
    known = _options(context)
    name = option.lstrip("-")
    # one letter is like everything
    if len(name) == 1:
        return EmotailorError(found, fix=help_line)

    usual = OPTIONS.get(name.lower(), f"--{name.lower().replace('_', '-')}")
    if usual.partition(" ")[0] in known:
        return EmotailorError(found, fix=f"did you mean {usual}?")

    by_name = {other.lstrip("-"): other for other in known}
    close = difflib.get_close_matches(usual.lstrip("-"), by_name, n=1, cutoff=0.75)
    if close:
        return EmotailorError(found, fix=f"did you mean {by_name[close[0]]}?")

    meant = _settings(name) if "--set" in known else []
    if meant:
        ways = " or ".join(f"--set {setting}=VALUE" for setting in meant)
        return EmotailorError(found, expected=f"it is a setting: {ways}", fix=help_line)

    return EmotailorError(found, fix=help_line)


def _options(context: Any) -> list[str]:
    """Return the options of a command, all spellings."""
    found: list[str] = []
    for parameter in context.command.params:
        found += [*parameter.opts, *parameter.secondary_opts]
    return [option for option in found if option.startswith("-")]


def _settings(name: str) -> list[str]:
    """Return the settings that have the name of an option."""
    from emotailor.meant import SYNONYMS, settings_meant
    from emotailor.models.table import find_system
    from emotailor.training.run_config import settings_of

    # which system is meant is on the command line, but that was not understood
    keys = settings_of(find_system("tailor"))
    written = plain(name)
    usual = SYNONYMS.get(written, written)
    meant = settings_meant(name, None, keys)
    return [setting for setting in meant if setting.endswith(f".{usual}")]


def _wrong_value(error: Any, help_line: str) -> EmotailorError:
    """Return the message for a value that an option does not take."""
    message = error.message.rstrip(".")
    parameter = error.param
    # the long spelling says what it means
    opts = [] if parameter is None else list(parameter.opts)
    name = max(opts, key=len) if opts else "a value"

    # messages of typer do not always hold the value
    given = value_given(sys.argv, opts)
    found = f"{name} {given}" if given else name
    if name == "--seed" and given and "," in given:
        count = len(given.split(","))
        fix = f"--seeds {count} makes {count} runs, with the seeds from --seed on"
        return EmotailorError(found, expected="one whole number", fix=fix)

    number = _NUMBER.search(message)
    if number is not None:
        kind = "a whole number" if "int" in number[0] else "a number"
        return EmotailorError(found, expected=kind, fix=help_line)

    bound = _BOUND.search(message)
    if bound is not None:
        return EmotailorError(found, expected=f"at least {bound[1]}", fix=help_line)

    # typer lists what it knows in quotation marks, and what was given among them
    choices = re.findall(r"'([^']+)'", message)
    known = [choice for choice in choices if choice != given]
    if len(known) > 1:
        close = difflib.get_close_matches(plain(given or ""), known, n=1)
        fix = f"did you mean {close[0]}?" if close else help_line
        return EmotailorError(found, expected=f"one of {', '.join(known)}", fix=fix)
    return EmotailorError(found, expected=message, fix=help_line)


def value_given(arguments: Sequence[str], options: Sequence[str]) -> str | None:
    """Return the value that an option has on a command line; None where it has none there.

    Args:
        arguments: the command line.
        options: all spellings of the option.
    """
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name not in options:
            continue
        if equals:
            return value
        if place + 1 < len(arguments):
            return arguments[place + 1]
    return None
