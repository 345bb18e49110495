"""Finding the code of others: by a reference that a user writes, or by an entry point."""

import difflib
import hashlib
import importlib
import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from emotailor.errors import ConfigError
from emotailor.files import sha256_of

REFERENCE = "package.module:name or path/to/file.py:name"
"""How a reference is written, for messages and help."""


def is_reference(text: str) -> bool:
    """Whether ``text`` is meant as a reference: names of our own never hold a colon."""
    return ":" in text


def load_object(reference: str, kind: str) -> Any:
    """Return the object that a reference names.

    The current directory is importable for it, behind everything installed. A file is loaded
    once for every content: the same reference gives the same object until the file changes.

    Args:
        reference: ``package.module:name`` or ``path/to/file.py:name``; the name may have dots.
        kind: what the object is to be, such as ``reader``, for messages.

    Raises:
        ConfigError: the reference is not written like this, or there is no such module, file or
            name, or the module itself fails; the failure of a module is kept as the cause.
    """
    place, _, name = reference.rpartition(":")
    if not place.strip() or not name.strip():
        raise ConfigError(f"the {kind} {reference!r} cannot be found", expected=REFERENCE)

    _make_importable(Path.cwd())
    if place.endswith(".py"):
        module = _load_file(Path(place), reference, kind)
    else:
        module = _import_module(place, reference, kind)

    # ``Outer.Inner`` is looked up step by step
    found: Any = module
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise _without_name(module, name, reference, kind) from error
    return found


def installed(group: str) -> dict[str, str]:
    """Return what installed packages offer in a group of entry points: name -> reference.

    Nothing is imported; :func:`load_object` takes the reference.

    Raises:
        ConfigError: two packages offer different objects under one name.
    """
    found: dict[str, str] = {}
    for point in sorted(entry_points(group=group)):
        reference = f"{point.module}:{point.attr}"
        known = found.setdefault(point.name, reference)
        if known != reference:
            raise ConfigError(
                f"two installed packages offer {point.name!r} in the group {group}: "
                f"{known} and {reference}",
                expected="every name once",
                fix="uninstall one of them",
            )
    return found


def _make_importable(folder: Path) -> None:
    """Let Python look for modules in ``folder`` too, after all other places."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()  # the user may have written the module a moment ago


def _import_module(name: str, reference: str, kind: str) -> ModuleType:
    """Import an installed module, or one in the current directory."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # a module that is there may itself import one that is not
        missing = error.name or ""
        is_the_named_one = name == missing or name.startswith(f"{missing}.")
        if not is_the_named_one:
            raise _broken(name, error, reference, kind) from error

        raise ConfigError(
            f"the {kind} {reference!r} cannot be found: there is no module {missing!r}",
            expected=f"a module that is installed or lies in {Path.cwd()}",
            fix="check the spelling, or install the package that has it",
        ) from error
    except (Exception, SystemExit) as error:  # whatever the code of others raises
        raise _broken(name, error, reference, kind) from error


class _Fresh(SourceFileLoader):
    """Reads the source itself: compiled code beside it can be older, by less than a second."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file as it is now."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _load_file(path: Path, reference: str, kind: str) -> ModuleType:
    """Load a file as a module of its own."""
    if not path.is_file():
        raise ConfigError(
            f"the {kind} {reference!r} cannot be found: there is no file {path}",
            expected=f"a Python file; the path is taken from {Path.cwd()}",
            fix="check the path",
        )

    path = path.resolve()
    _make_importable(path.parent)  # for the modules beside it

    # a name of its own for every path and content
    identity = f"{path} {sha256_of(path)}"
    key = hashlib.sha256(identity.encode()).hexdigest()
    name = f"{path.stem}_{key[:12]}"
    if name in sys.modules:
        return sys.modules[name]

    spec = importlib.util.spec_from_file_location(name, path, loader=_Fresh(name, str(path)))
    assert spec is not None  # a name that ends in .py always has one
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there for the module of their class
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _broken(str(path), error, reference, kind) from error
    return module


def _broken(where: str, error: BaseException, reference: str, kind: str) -> ConfigError:
    # some errors say nothing beside their class
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    return ConfigError(
        f"the {kind} {reference!r} cannot be loaded: {where} fails when it is imported: {reason}",
        expected="a module that can be imported",
        fix="mend that module, or install what it needs",
    )


def _without_name(module: ModuleType, name: str, reference: str, kind: str) -> ConfigError:
    public = [key for key in vars(module) if not key.startswith("_")]
    close = difflib.get_close_matches(name, public, n=1)
    fix = f"did you mean {close[0]!r}?" if close else "check the spelling"

    # a built-in module has no file
    where = getattr(module, "__file__", None) or module.__name__
    return ConfigError(
        f"the {kind} {reference!r} cannot be found: {where} has no {name!r}",
        expected="the name of something in that module",
        fix=fix,
    )
