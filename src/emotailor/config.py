"""What every configuration shares: strict fields, and errors that name key, value and remedy.

Configurations need neither torch nor any data, so a mistake is reported before anything heavy is
imported.
"""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from emotailor.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound="Config")
NONE = ("none", "null")
"""Words that stand for None where a setting may be None: neither TOML nor ``--set`` has one."""


class Config(BaseModel):
    """Base of all configurations: immutable, unknown keys are errors, defaults are checked too."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, values: Any) -> Any:
        """Put None where a word stands for it."""
        if not isinstance(values, Mapping):
            return values
        fields = cls.model_fields
        return {
            key: None if key in fields and _is_none(value, fields[key].annotation) else value
            for key, value in values.items()
        }

    @classmethod
    def parse(
        cls: type[ConfigT],
        values: Any,
        source: str = "the configuration",
        *,
        prefix: str = "",
    ) -> ConfigT:
        """Validate ``values``.

        Args:
            values: a table of settings.
            source: where they come from, for messages.
            prefix: of their keys in messages, such as ``model.``.

        Raises:
            ConfigError: naming every wrong key, its value and what would be right.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{source}: {prefix.rstrip('.') or 'everything'} = {values!r}",
                expected="a table of settings",
            )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _explain(cls, error, source, prefix) from None

    def replace(self: ConfigT, **changes: Any) -> ConfigT:
        """Return a copy with ``changes``, validated."""
        return type(self).parse({**self.model_dump(), **changes})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.model_dump(mode="json")


def _is_none(value: Any, annotation: Any) -> bool:
    """Whether a value is a word for None, and not one of the words that a setting may be."""
    if not isinstance(value, str) or value.strip().lower() not in NONE:
        return False
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    words = {word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)}
    return NoneType in kinds and value not in words


def _explain(cls: type[Config], error: ValidationError, source: str, prefix: str) -> ConfigError:
    found, expected = [], []
    if systems := _tables_of_systems(cls, error):
        one = len(systems) == 1
        return ConfigError(
            f"{source}: {', '.join(systems)} {'is no table' if one else 'are no tables'} of a run",
            expected="one of " + ", ".join(_known_keys(cls, ())),
            fix="give a file with a table per system to `emotailor benchmark` or `emotailor "
            "reproduce`, or take one system's tables out of it, [tailor.model] as [model]",
        )
    for problem in error.errors():
        *table, last = (str(part) for part in problem["loc"] or (prefix.rstrip("."),))
        key = prefix * bool(problem["loc"]) + ".".join([*table, last])
        if problem["type"] == "extra_forbidden":
            known = _known_keys(cls, problem["loc"][:-1])
            close = difflib.get_close_matches(last, known, n=1)
            found.append(f"{key} = {problem['input']!r} is not a setting")
            meant = key.removesuffix(last) + close[0] if close else ""
            expected.append(f"did you mean {meant}?" if close else "one of " + ", ".join(known))
        elif problem["type"] == "value_error":  # settings that do not go together
            what = problem["msg"].removeprefix("Value error, ")
            found.append(f"{key}: {what}" if key else what)
        elif problem["type"] == "missing":
            found.append(f"{key} is not given")
        else:
            found.append(f"{key} = {problem['input']!r}")
            expected.append(f"{key}: {problem['msg']}")
    return ConfigError(
        f"{source}: " + "; ".join(found), expected="; ".join(dict.fromkeys(expected))
    )


def _tables_of_systems(cls: type[Config], error: ValidationError) -> list[str]:
    """Unknown tables that hold tables of a run, as in a file for several systems."""
    kinds = {name: field.annotation for name, field in cls.model_fields.items()}
    tables = {n for n, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Config)}
    return [
        str(problem["loc"][0])
        for problem in error.errors()
        if problem["type"] == "extra_forbidden"
        and len(problem["loc"]) == 1
        and isinstance(problem["input"], Mapping)
        and tables & set(problem["input"])
    ]


def _known_keys(cls: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        inner = cls.model_fields.get(str(part))
        if inner is None or not isinstance(inner.annotation, type):
            return []
        if not issubclass(inner.annotation, BaseModel):
            return []
        cls = inner.annotation
    return sorted(cls.model_fields)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML (or JSON) configuration file.

    Raises:
        ConfigError: it is missing or not valid.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark before the text
        values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration file {path}: {error.strerror}",
            fix="check the path given with --config",
        ) from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # covers UnicodeDecodeError, TOMLDecodeError, JSONDecodeError
        raise ConfigError(
            f"{path} is not valid: {error}", expected="TOML, or JSON in *.json"
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}", expected="a table of settings")
    return values


def parse_overrides(items: Iterable[str]) -> dict[str, Any]:
    """Turn ``["model.hidden_size=128"]`` into ``{"model": {"hidden_size": 128}}``.

    Values are read as TOML; what is not TOML is a string.

    Raises:
        ConfigError: an item has no ``=``, or sets a value inside something that is no table.
    """
    result: dict[str, Any] = {}
    for item in items:
        key, separator, raw = item.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not separator or not all(parts):
            raise ConfigError(
                f"--set {item!r}", expected="KEY=VALUE, such as --set model.hidden_size=128"
            )
        try:
            value = tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError:
            value = raw.strip()
        table = result
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {item!r}: {part} is already set to a value")
        table[parts[-1]] = value
    return result


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested tables; later layers win."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            both = isinstance(value, Mapping) and isinstance(old, Mapping)
            result[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return result


def shown(value: Any) -> str:
    """Return a setting as one writes it after ``--set``."""
    if isinstance(value, bool | None):
        return "none" if value is None else str(value).lower()
    if isinstance(value, tuple | list):
        return ", ".join(map(shown, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(inner)}" for key, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
