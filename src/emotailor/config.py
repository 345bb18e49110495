"""What every configuration shares: strict fields, and errors that name key, value and remedy.

Configurations need neither torch nor any data, so a mistake is reported before anything heavy is
imported.
"""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from emotailor.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Base of all configurations: immutable, unknown keys are errors, defaults are checked too."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

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


def _explain(cls: type[Config], error: ValidationError, source: str, prefix: str) -> ConfigError:
    found, expected = [], []
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
    return ConfigError(f"{source}: " + "; ".join(found), expected="; ".join(expected))


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
