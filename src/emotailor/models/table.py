"""The table of all systems: those of the package, installed ones, and those of the user.

A new system of the package is one more line of ``_BUILT_IN``. A system from outside comes in by
:func:`use_system`, or as an entry point of the group ``emotailor.systems``.

The name of a system is data: a stored model says which system it is. So a name alone never loads
code from outside. That takes the user, by :func:`use_system` or by installing a package.
"""

import ast
import dataclasses
import difflib
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from emotailor.config import Config
from emotailor.errors import ConfigError
from emotailor.loading import installed, is_reference, load_object
from emotailor.models.system import PRESETS, System

ENTRY_POINTS = "emotailor.systems"
"""The group of entry points with which an installed package adds systems."""

_BUILT_IN = (
    "classic.system:BR",
    "classic.system:LP",
    "classic.system:CC",
    "sgm.system:SYSTEM",
    "lsan.system:SYSTEM",
    "ml_gcn.system:SYSTEM",
    "dfg.system:SYSTEM",
    "raven.system:SYSTEM",
    "mult.system:SYSTEM",
    "simm.system:SYSTEM",
    "misa.system:SYSTEM",
    "hhmpn.system:SYSTEM",
    "carat.system:SYSTEM",
    "lddu.system:SYSTEM",
    "tailor.system:SYSTEM",
)
"""Where each row stands, below ``emotailor.models``, in the order of the paper's Table 2."""


def _rows() -> Iterator[System]:
    for place in _BUILT_IN:
        module, _, name = place.partition(":")
        yield getattr(import_module(f"emotailor.models.{module}"), name)


SYSTEMS: Mapping[str, System] = {row.name: row for row in _rows()}
"""Name -> row, of the systems of the package."""

_USED: dict[str, System] = {}
"""Name -> row, of the systems from outside that this process uses."""


def find_system(name: str) -> System:
    """Return the system of this name.

    Loads no code from outside but that of installed entry points.

    Raises:
        ConfigError: there is none, or its code has not been loaded.
    """
    if name in SYSTEMS:
        return SYSTEMS[name]
    if name in _USED:
        return _USED[name]

    # a title as papers print it, such as ML-GCN
    written = name.strip().lower().replace("-", "_")
    if written in SYSTEMS:
        return SYSTEMS[written]
    if is_reference(name):
        raise ConfigError(
            f"the system {name!r} is code from outside emotailor, and it has not been loaded",
            expected="to be told to load it: code is never loaded because a file names it",
            fix=f"if you trust that code, add {_option(name)} (from Python: emotailor.use_system)",
        )
    row = _installed(name)
    if row is not None:
        return row

    if Path(name).suffix == ".py":
        raise ConfigError(
            f"the model {name!r} is a file, and no class in it is named",
            expected="the class of the system behind a colon",
            fix=f"name it so: {name}:{_class_in(Path(name)) or 'Class'}",
        )

    known = [*SYSTEMS, *installed_systems()]
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    raise ConfigError(
        f"unknown model {name!r}",
        expected=f"one of {', '.join(known)}, or a class of your own as module:Class",
        fix=f"did you mean {close[0]}?" if close else None,
    )


def _class_in(file: Path) -> str | None:
    """Return the first class in a file of code that is built on a model, without running it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # what is wrong with it shows when it is loaded
        return None

    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [ast.unparse(base) for base in node.bases]
        if any(base.endswith("EmotionModel") for base in bases):
            return node.name
    return None


def _option(name: str) -> str:
    """The option that loads a system."""
    place, _, attribute = name.rpartition(":")
    if place.endswith(".py"):
        return f"--model PATH/{place}:{attribute}"
    return f"--model {name}"


def use_system(given: str | type[Any] | System) -> System:
    """Return a system, loading its code where it comes from outside.

    From then on this process knows it by its name: runs and models of it can be read.

    Args:
        given: the name of a system, ``my_package.my_module:MyModel``, ``path/to/file.py:MyModel``,
            a subclass of :class:`~emotailor.models.base.EmotionModel`, or a row of your own.

    Raises:
        ConfigError: there is no such system, or what is there is no model.
    """
    if isinstance(given, System):
        row = given
    elif isinstance(given, type):
        row = _row_of(given, *_place_of(given))
    elif is_reference(given):
        row = _load(given)
    else:
        return find_system(given)

    if SYSTEMS.get(row.name, row) is not row:
        raise ConfigError(
            f"a system from outside has the name {row.name!r}",
            expected="a name that no system of emotailor has",
            fix="give the system another name",
        )
    _USED[row.name] = row
    return row


def _load(reference: str) -> System:
    """Load ``module:Class`` or ``path/to/file.py:Class``."""
    found = load_object(reference, "system")
    place, _, attribute = reference.rpartition(":")

    name = code = reference
    if place.endswith(".py"):
        file = Path(place).resolve()
        # a run must be known again where the file has moved, so its name has no folder
        name = f"{file.name}:{attribute}"
        code = f"{file}:{attribute}"

    if isinstance(found, System):
        return dataclasses.replace(found, code=code)
    return _row_of(found, name, code)


def _place_of(model: type[Any]) -> tuple[str, str | None]:
    """Return the name of a class as a system, and what a new process is told to load it."""
    name = f"{model.__module__}:{model.__qualname__}"
    if "<locals>" in name:
        return name, None  # nobody else can find it

    module = sys.modules.get(model.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        code = None if model.__module__ == "__main__" else name  # a notebook
        return name, code

    last = model.__module__.rpartition(".")[2]
    place = Path(file).resolve()
    if Path(file).stem in (last, "__init__"):
        return name, name

    # the program that runs, or a file that was loaded by its path
    of_file = f"{place.name}:{model.__qualname__}"
    code = f"{place}:{model.__qualname__}"
    return of_file, code


def _row_of(model: Any, name: str, code: str | None) -> System:
    """Return the row of a class that says all of itself by its attributes."""
    from emotailor.models.base import EmotionModel

    if not (isinstance(model, type) and issubclass(model, EmotionModel)):
        kind = "class" if isinstance(model, type) else type(model).__name__
        raise ConfigError(
            f"{name} is a {kind}, and no system",
            expected="a subclass of emotailor.EmotionModel",
            fix="`emotailor models new NAME` writes one to start from",
        )
    config = model.config_class
    if not (isinstance(config, type) and issubclass(config, Config)):
        raise ConfigError(
            f"{name}: config_class is {config!r}", expected="a subclass of emotailor.Config"
        )
    return System(
        name=name,
        title=model.title or model.__name__,
        paper=model.paper,
        config=config,
        model=model,
        recipes=dict.fromkeys(PRESETS, model.recipe),
        modalities=model.can_take,
        required=model.must_have,
        at_least=model.at_least,
        variants=model.variants,
        search=model.search,
        code=code,
    )


def installed_systems() -> tuple[str, ...]:
    """Return the names that installed packages give to their systems."""
    return tuple(installed(ENTRY_POINTS))


def _installed(name: str) -> System | None:
    """Return the system of an installed package, loading it; None where there is none."""
    reference = installed(ENTRY_POINTS).get(name)
    if reference is None:
        return None

    found = load_object(reference, "system")
    row = found if isinstance(found, System) else _row_of(found, name, None)
    _USED[name] = row
    return row


def available_models() -> tuple[str, ...]:
    """Return the names of all systems: those of the package, then installed ones."""
    return (*SYSTEMS, *installed_systems())
