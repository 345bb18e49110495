"""The names of the models that come with the package, and the folders behind them.

A name is data: it finds a folder inside the package, and never loads code.
"""

from pathlib import Path

from emotailor.errors import ConfigError

WORDS = "words"
"""The model that reads what is said. It is taken where nobody names a model."""

NAMES = (WORDS,)
"""All models that come with the package."""


def shipped_folder(name: str = WORDS) -> Path:
    """Return the model folder of a model that comes with the package.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in NAMES:
        raise ConfigError(
            f"no model {name!r} comes with the package", expected=f"one of {', '.join(NAMES)}"
        )
    return Path(__file__).with_name(name)


def is_shipped(path: str | Path) -> bool:
    """Whether a path is no path, but the name of a model that comes with the package.

    What lies at the path wins, as it always did: a folder that happens to have such a name stays
    what the user means by it.
    """
    return str(path) in NAMES and not Path(path).exists()


def meant_by(path: str | Path | None) -> Path:
    """Return the folder that a path, or the name of a model, means.

    Args:
        path: run or model folder, or the name of a model that comes with the package; None for
            that which reads words, whatever lies in the working folder.
    """
    if path is None:
        return shipped_folder()
    if is_shipped(path):
        return shipped_folder(str(path))
    return Path(path)
