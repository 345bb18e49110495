"""The table of all systems; a new one is one more line of ``_BUILT_IN``."""

import difflib
from collections.abc import Iterator, Mapping
from importlib import import_module

from emotailor.errors import ConfigError
from emotailor.models.system import System

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
    "tailor.system:SYSTEM",
)
"""Where each row stands, below ``emotailor.models``, in the order of the paper's Table 2."""


def _rows() -> Iterator[System]:
    for place in _BUILT_IN:
        module, _, name = place.partition(":")
        yield getattr(import_module(f"emotailor.models.{module}"), name)


SYSTEMS: Mapping[str, System] = {row.name: row for row in _rows()}


def find_system(name: str) -> System:
    """Return the system of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SYSTEMS:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), SYSTEMS, n=1)
        raise ConfigError(
            f"unknown model {name!r}",
            expected=f"one of {', '.join(SYSTEMS)}",
            fix=f"did you mean {close[0]}?" if close else None,
        )
    return SYSTEMS[name]


def available_models() -> tuple[str, ...]:
    """Return the names of all systems."""
    return tuple(SYSTEMS)
