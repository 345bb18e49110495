"""What a setting takes, in words: for messages about values that it does not take."""

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "none",
}


def wanted(field: FieldInfo) -> str:
    """Return what a field takes, such as ``a whole number, at least 1, or none``."""
    return _in_words(field.annotation, field.metadata)


def _in_words(annotation: Any, limits: Sequence[Any]) -> str:
    """Return a type with its limits in words."""
    origin = get_origin(annotation)
    if origin is None:
        return _single(annotation, limits)

    inner = get_args(annotation)
    if origin is Annotated:
        return _in_words(inner[0], [*limits, *inner[1:]])
    if origin is Literal:
        return _choices(inner)
    if origin in (Union, UnionType):
        return _union(inner, limits)

    # a table has a name for each value, and a list has none
    value = _in_words(inner[-1 if origin is dict else 0], ())
    if origin is dict:
        return f"a table of names, each with {value} (SETTING.NAME=VALUE)"
    return f"a list, each {value}"


def _single(kind: Any, limits: Sequence[Any]) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a table of settings"

    name = _NAMES.get(kind, "another value")
    bounds = [_bound(limit) for limit in limits]
    return ", ".join([name, *filter(None, bounds)])


def _choices(values: Sequence[Any]) -> str:
    shown = ", ".join(str(value) for value in values)
    return shown if len(values) == 1 else f"one of {shown}"


def _union(kinds: Sequence[Any], limits: Sequence[Any]) -> str:
    """Return all kinds of a union; none comes last."""
    some = [kind for kind in kinds if kind is not NoneType]
    parts = [_in_words(kind, limits) for kind in some]
    if len(some) < len(kinds):
        parts.append("none")
    return ", or ".join(parts)


def _bound(limit: Any) -> str:
    """Return a limit in words; nothing of a limit that is no number."""
    # a field that gives several limits at once is taken apart by pydantic itself
    if isinstance(limit, Ge):
        return f"at least {limit.ge}"
    if isinstance(limit, Gt):
        return f"above {limit.gt}"
    if isinstance(limit, Le):
        return f"at most {limit.le}"
    if isinstance(limit, Lt):
        return f"below {limit.lt}"

    # PositiveFloat and the like hold their limits one level down
    inner = getattr(limit, "metadata", ())
    return ", ".join(filter(None, map(_bound, inner)))
