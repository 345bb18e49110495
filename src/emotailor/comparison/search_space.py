"""What a search tries: the settings that live with each system, and those of every training."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotailor.config import merge, parse_overrides
from emotailor.errors import ConfigError
from emotailor.models.system import System

Settings = dict[str, Any]

TRAINING: Mapping[str, Sequence[float]] = {
    "learning_rate": (3e-4, 1e-3, 3e-3),
    "weight_decay": (0.0, 0.1),
}
"""Settings of a training by gradients that are tried for every system."""


@dataclass(frozen=True)
class Choice:
    """One thing that a trial chooses.

    Attributes:
        name: what it is called where trials are stored.
        options: tables of settings, each as JSON: a storage takes plain values alone.
    """

    name: str
    options: tuple[str, ...]

    @property
    def keys(self) -> str:
        """The settings that differ between the options: ``hidden_size, heads``."""
        tables = [settings_of({"": option}) for option in self.options]
        values: dict[str, set[str]] = {}
        for table in tables:
            for room in table.values():
                for key, value in room.items():
                    values.setdefault(key, set()).add(json.dumps(value))
        return ", ".join(key for key, found in values.items() if len(found) > 1)


Space = tuple[Choice, ...]


def search_space(row: System, tried: Sequence[str] = (), *, by_gradients: bool = True) -> Space:
    """Return what is tried of a system.

    Args:
        row: the system.
        tried: ``KEY=VALUE,VALUE``, in place of what would be tried of that setting.
        by_gradients: whether it learns by gradients; others have no learning rate.

    Raises:
        ConfigError: one of ``tried`` is no setting with values.
    """
    found: dict[str, list[Settings]] = {}
    for number, tables in enumerate(row.search, 1):
        found[f"model {number}"] = [{"model": dict(table)} for table in tables]
    if by_gradients:
        for name, values in TRAINING.items():
            found[f"training.{name}"] = [{"training": {name: value}} for value in values]

    for text in tried:
        key, options = _tried(text)
        # the last settings win, so these count where a table of the model has the setting, too
        found.pop(key, None)
        found[key] = options

    choices = []
    for name, options in found.items():
        lines = [json.dumps(option, sort_keys=True) for option in options]
        choices.append(Choice(name, tuple(dict.fromkeys(lines))))
    return tuple(choices)


def _tried(text: str) -> tuple[str, list[Settings]]:
    """Return the key and the settings of ``KEY=VALUE,VALUE``."""
    key, equals, values = text.partition("=")
    parts = [part.strip() for part in values.split(",")]
    if not equals or not all(parts):
        raise ConfigError(
            f"--try {text!r}",
            expected="a setting and its values, such as training.dropout=0.1,0.3",
        )
    return key.strip(), [parse_overrides([f"{key}={part}"]) for part in parts]


def size_of(space: Space) -> int:
    """Return how many different settings there are."""
    return math.prod(len(choice.options) for choice in space)


def option_of(space: Space, number: int, name: str) -> str:
    """Return what the trial of a number takes where all settings are tried in order."""
    for choice in space:
        number, place = divmod(number, len(choice.options))
        if choice.name == name:
            return choice.options[place]
    raise KeyError(name)


def settings_of(chosen: Mapping[str, Any]) -> Settings:
    """Return the nested settings that were chosen.

    Args:
        chosen: name of a choice -> the option that was taken.
    """
    return merge(*(json.loads(option) for option in chosen.values()))


def to_toml(tables: Mapping[str, Settings], head: str) -> str:
    """Return settings of systems as a file for ``emotailor benchmark --config``.

    Args:
        tables: name of a system -> its settings.
        head: what the file says of itself, in one line.
    """
    lines = [f"# {head}\n"]
    for system, settings in tables.items():
        owner = system if system.isidentifier() else json.dumps(system)
        for room, values in settings.items():
            lines.append(f"\n[{owner}.{room}]\n")
            lines += [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    return "".join(lines)
