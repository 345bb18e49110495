"""Packages that encoders need and an installation may lack: one message, with the command."""

import importlib
import os
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emotailor.errors import ConfigError, ModelError
from emotailor.files import sha256_of
from emotailor.verified import verify_file

_KEPT_QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
"""Variables for packages that send usage data to their makers unless told not to.

onnxruntime 1.32 looks its maker's address up as soon as it is imported, by whichever package, and
leaves an identifier in the user's cache.
"""


def need(module: str, for_what: str, command: str) -> Any:
    """Import a module that may not be installed, and let it open no connection by itself.

    Args:
        module: its name.
        for_what: what needs it, for the message.
        command: how it is installed.

    Raises:
        ConfigError: it is not installed, or fails when it is imported.
    """
    for name, value in _KEPT_QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        found = f"{for_what} needs the package {package}, which is not installed"
        # it is there, but something that it needs is not
        if getattr(error, "name", None) not in (package, module):
            found = f"{for_what} needs the package {package}, which cannot be imported: {error}"
        raise ConfigError(found, expected="that package beside emotailor", fix=command) from error


def folder_of(module: str, package: str, for_what: str, command: str) -> Path:
    """Return the folder of an installed package that carries data; its code is not run.

    Args:
        module: name of the module that is the folder.
        package: name of the package.
        for_what: what needs it, for the message.
        command: how it is installed.

    Raises:
        ConfigError: it is not installed.
    """
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"{for_what} needs the package {package}, which is not installed",
            expected="that package beside emotailor",
            fix=command,
        )
    return Path(spec.submodule_search_locations[0])


def check_file(package: str, file: Path, command: str) -> str:
    """Return the SHA-256 of a file of a package, compared with the one that it was installed with.

    Args:
        package: name of the package.
        file: one of its files.
        command: how the package is installed again.

    Raises:
        ModelError: the file is missing, cannot be read or was altered.
    """
    expected = _recorded_hash(package, file)
    if expected is not None:
        verify_file(file, expected, fix=command, error=ModelError)
        return expected
    try:
        return sha256_of(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}", fix=command) from error


def version_of(package: str) -> str:
    """Return the version of an installed package; empty where it is unknown."""
    try:
        return distribution(package).version
    except PackageNotFoundError:
        return ""


def _recorded_hash(package: str, file: Path) -> str | None:
    """Return the SHA-256 that the record of a package has of a file, in hexadecimal."""
    import base64

    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None

    for listed in files:
        is_it = Path(str(listed.locate())).resolve() == file.resolve()
        if is_it and listed.hash is not None and listed.hash.mode == "sha256":
            # without the filling at its end
            digest = base64.urlsafe_b64decode(f"{listed.hash.value}=")
            return digest.hex()
    return None
