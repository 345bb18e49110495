"""Results as data frames, where pandas is installed."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from emotailor.errors import ConfigError


def data_frame(rows: Sequence[Mapping[str, Any]], *, index: str) -> Any:
    """Return rows as a ``pandas.DataFrame``; pandas is optional, so it is no type here.

    Args:
        rows: rows, each column -> value.
        index: column that becomes the index.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ConfigError(
            "a data frame needs pandas, which is not installed",
            fix="install it with `pip install pandas`",
        ) from error

    frame = pandas.DataFrame(list(rows))
    return frame.set_index(index)
