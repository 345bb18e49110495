"""What every configuration shares: strict fields, and errors that name key, value and remedy.

Configurations need neither torch nor any data, so a mistake is reported before anything heavy is
imported.
"""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from emotailor.errors import ConfigError
from emotailor.meant import SYNONYMS, plain
from emotailor.verified import HASH_KEY, MAX_DEPTH, content_of, is_deeper
from emotailor.wanted import wanted

ConfigT = TypeVar("ConfigT", bound="Config")
LONGEST = 200  # characters of a value in a message
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

        found = dict(values)
        for key, value in values.items():
            field = cls.model_fields.get(key)
            if field is not None and _is_none(value, field.annotation):
                found[key] = None
        return found

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
            prefix: what stands before their keys in messages, such as ``model.``.

        Raises:
            ConfigError: naming every wrong key, its value and what would be right.
        """
        if not isinstance(values, Mapping):
            name = prefix.rstrip(".") or "everything"
            raise ConfigError(f"{source}: {name} = {values!r}", expected="a table of settings")

        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _explain(cls, error, source, prefix) from error

    def replace(self: ConfigT, **changes: Any) -> ConfigT:
        """Return a copy with ``changes``, validated."""
        return type(self).parse({**self.model_dump(), **changes})

    def model_copy(
        self: ConfigT, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> ConfigT:
        """Return a copy, as ``replace``: pydantic's own would take any value unseen."""
        if update:
            return self.replace(**update)
        return super().model_copy(deep=deep)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.model_dump(mode="json")


def _is_none(value: Any, annotation: Any) -> bool:
    """Whether a value is a word for None, and not one of the words that a setting may be."""
    if not isinstance(value, str):
        return False
    if value.strip().lower() not in NONE:
        return False

    # only a union such as ``int | None`` can have None
    if get_origin(annotation) not in (Union, UnionType):
        return False
    kinds = get_args(annotation)

    words: set[Any] = set()
    for kind in kinds:
        if get_origin(kind) is Literal:
            words.update(get_args(kind))
    return NoneType in kinds and value not in words


def _explain(cls: type[Config], error: ValidationError, source: str, prefix: str) -> ConfigError:
    """Return the message for everything that pydantic found wrong."""
    systems = _tables_of_systems(cls, error)
    if systems:
        return _for_several_systems(cls, systems, source)

    found = []
    expected = []
    for problem in error.errors():
        wrong, right = _problem(cls, problem, prefix)
        found.append(wrong)
        if right:
            expected.append(right)

    # several wrong keys may expect the same, and a setting of several kinds is wrong for each
    wrong_ones = dict.fromkeys(found)
    right_ones = dict.fromkeys(expected)
    return ConfigError(f"{source}: {'; '.join(wrong_ones)}", expected="; ".join(right_ones))


def _for_several_systems(cls: type[Config], systems: list[str], source: str) -> ConfigError:
    """Return the message where a run is given a file with tables of several systems."""
    are_no_tables = "is no table" if len(systems) == 1 else "are no tables"
    known = ", ".join(_known_keys(cls, ()))
    return ConfigError(
        f"{source}: {', '.join(systems)} {are_no_tables} of a run",
        expected=f"one of {known}",
        fix="give a file with a table per system to `emotailor benchmark` or `emotailor "
        "reproduce`, or take one system's tables out of it, [tailor.model] as [model]",
    )


def _problem(cls: type[Config], problem: Mapping[str, Any], prefix: str) -> tuple[str, str]:
    """Return what is wrong with one key, and what would be right, or the empty string."""
    loc, field = _setting_at(cls, problem["loc"])
    key = _key(loc, prefix)
    value = problem["input"]

    kind = problem["type"]
    if kind == "extra_forbidden":
        meant = _meant(cls, problem["loc"], key)
        return f"{key} = {_short(value)} is not a setting", meant

    if kind == "value_error":  # settings that do not go together
        what = problem["msg"].removeprefix("Value error, ")
        return f"{key}: {what}" if key else what, ""

    if kind == "missing":
        return f"{key} is not given", ""

    right = problem["msg"] if field is None else wanted(field)
    return f"{key} = {_short(value)}", f"{key}: {right}"


def _setting_at(
    cls: type[BaseModel], loc: tuple[int | str, ...]
) -> tuple[tuple[int | str, ...], FieldInfo | None]:
    """Return the place of a problem as a user knows it, and the setting there.

    Behind a setting of several kinds pydantic names the kind that it tried. Inside a list or a
    table no setting describes the value.
    """
    for depth, part in enumerate(loc):
        field = cls.model_fields.get(str(part))
        if field is None:
            return loc, None

        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            cls = kind
            continue

        here, below = loc[: depth + 1], loc[depth + 1 :]
        if _kinds(kind) > 1:
            below = below[1:]
        return here + below, None if below else field
    return loc, None


def _kinds(annotation: Any) -> int:
    """Return the number of kinds, but for None, that a setting may be of."""
    if get_origin(annotation) not in (Union, UnionType):
        return 1
    return sum(kind is not NoneType for kind in get_args(annotation))


def _short(value: Any) -> str:
    """Return a value as it was given, or its beginning."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _key(loc: tuple[int | str, ...], prefix: str) -> str:
    """Return a key as a user writes it; that of a whole table has no dot at its end."""
    if not loc:
        return prefix.rstrip(".")
    return prefix + ".".join(str(part) for part in loc)


def _meant(cls: type[Config], loc: tuple[int | str, ...], key: str) -> str:
    """Return a question for the key that may be meant, or all keys of its table."""
    *table, last = loc
    name = str(last)
    known = _known_keys(cls, table)

    written = plain(name)
    usual = SYNONYMS.get(written, written)
    close = difflib.get_close_matches(usual, known, n=1)
    if not close:
        return "one of " + ", ".join(known)

    path = key.removesuffix(name)
    return f"did you mean {path}{close[0]}?"


def _tables_of_systems(cls: type[Config], error: ValidationError) -> list[str]:
    """Return unknown tables that hold tables of a run, as in a file for several systems."""
    tables = set()
    for name, field in cls.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Config):
            tables.add(name)

    found = []
    for problem in error.errors():
        loc = problem["loc"]
        values = problem["input"]
        is_unknown = problem["type"] == "extra_forbidden" and len(loc) == 1
        if not is_unknown or not isinstance(values, Mapping):
            continue

        if tables & set(values):
            found.append(str(loc[0]))
    return found


def _known_keys(cls: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Return the keys of a table inside a configuration; none where it is no table."""
    for part in loc:
        inner = cls.model_fields.get(str(part))
        if inner is None:
            return []

        # a setting that may be one of several tables has no keys of its own
        kind = inner.annotation
        if not isinstance(kind, type) or not issubclass(kind, BaseModel):
            return []
        cls = kind
    return sorted(cls.model_fields)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML (or JSON) configuration file.

    Raises:
        ConfigError: it is missing or not valid.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark before the text
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration file {path}: {error.strerror}",
            fix="check the path given with --config",
        ) from error
    except ValueError as error:  # it is no UTF-8
        raise _not_valid(path, error) from error

    parse = json.loads if path.suffix.lower() == ".json" else tomllib.loads
    try:
        values = parse(text)
    except (ValueError, RecursionError) as error:
        raise _not_valid(path, error) from error

    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}", expected="a table of settings")
    if is_deeper(values, MAX_DEPTH):
        raise ConfigError(
            f"{path} is nested deeper than {MAX_DEPTH} levels", expected="tables of settings"
        )
    if HASH_KEY not in values:
        return values

    # a file that we wrote, such as the config.json of a run
    try:
        return content_of(values)
    except ValueError as error:
        raise ConfigError(
            f"{path}: {error}",
            expected="a file as emotailor wrote it, or one of yours",
            fix=f"if you changed it by hand, remove its {HASH_KEY}",
        ) from error


def _not_valid(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{path} is not valid: {error}", expected="TOML, or JSON in *.json")


def parse_overrides(items: Iterable[str]) -> dict[str, Any]:
    """Turn ``["model.hidden_size=128"]`` into ``{"model": {"hidden_size": 128}}``.

    Values are read as TOML; what is not TOML is a string.

    Raises:
        ConfigError: an item has no ``=``, or sets a value inside something that is no table.
    """
    result: dict[str, Any] = {}
    for item in items:
        key, separator, raw = item.partition("=")
        *tables, last = [part.strip() for part in key.split(".")]
        if not separator or not all([*tables, last]):
            raise ConfigError(
                f"--set {item!r}", expected="KEY=VALUE, such as --set model.hidden_size=128"
            )

        # walk down to the table that has the last key
        table = result
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {item!r}: {part} is already set to a value")
        table[last] = _value(raw)
        if is_deeper(result, MAX_DEPTH):
            raise ConfigError(
                f"--set {item[:50]!r}… is nested deeper than {MAX_DEPTH} levels",
                expected="KEY=VALUE, such as --set model.hidden_size=128",
            )
    return result


def _value(raw: str) -> Any:
    """Return the value after ``KEY=``: that of TOML, or the words themselves."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):  # most strings are given without quotes
        return raw.strip()


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested tables; later layers win."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            if isinstance(value, Mapping) and isinstance(old, Mapping):
                result[key] = merge(old, value)
            else:
                result[key] = value
    return result


def check_multiple(config: Config, size: str, *counts: str) -> None:
    """Require that a width can be divided by numbers of heads, each a setting of a model.

    Raises:
        ValueError: it cannot; pydantic makes it a problem of that model's settings.
    """
    width = getattr(config, size)
    for name in counts:
        count = getattr(config, name)
        if width % count:
            raise ValueError(f"{size} {width} must be a multiple of {name} {count}")


def first_problem(error: ValidationError) -> str:
    """Return where a stored file breaks its schema first, and how."""
    # pydantic's own text has many lines
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"])) or "the file"
    return f"{where}: {problem['msg']}"


def shown(value: Any) -> str:
    """Return a setting as one writes it after ``--set``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"

    if isinstance(value, tuple | list):
        return ", ".join(map(shown, value))
    if isinstance(value, Mapping):
        pairs = [f"{key} {shown(inner)}" for key, inner in value.items()]
        return ", ".join(pairs)
    return str(value)
