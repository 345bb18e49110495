"""The names of models that are no paths, and the folders behind them.

A name is data: it finds a folder inside the package, or one in the cache of the Hugging Face Hub
(:mod:`emotailor.shipped.hub`), and never loads code.
"""

from pathlib import Path

from emotailor.errors import ConfigError, ModelError
from emotailor.shipped.hub import hub_folder, hub_name, is_on_hub

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


def is_named(path: str | Path) -> bool:
    """Whether a path is no path, but the name of a model: beside such a one nothing is written."""
    return is_shipped(path) or is_on_hub(path)


def name_of(path: str | Path) -> str:
    """Return the name of a model as people write it."""
    return hub_name(path) if is_on_hub(path) else str(path)


def check_no_file(path: str | Path) -> None:
    """Refuse a file in the place of the folder of a model.

    Raises:
        ModelError: it is one.
    """
    path = Path(path)
    if not path.is_file():
        return
    fix = "name the folder"
    if path.suffix.lower() == ".onnx":
        fix = (
            "name the folder that it was exported from; `emotailor predict` and `serve` take files"
        )
    raise ModelError(f"{path} is a file", expected="a run folder or a model folder", fix=fix)


def beside(path: str | Path, name: str) -> Path:
    """Return where something about a model is written by default: beside it, in its folder.

    Args:
        path: run or model folder.
        name: of the file or folder that is written.

    Raises:
        ConfigError: it is the name of a model, beside which nothing is written.
        ModelError: it is a file.
    """
    check_no_file(path)
    if is_named(path):
        raise ConfigError(
            f"{name_of(path)} is no folder of yours, in which {name} could be stored",
            expected="a place for it",
            fix=f"name one with --out, such as --out {name}",
        )
    return Path(path) / name


def meant_by(path: str | Path | None) -> Path:
    """Return the folder that a path, or the name of a model, means.

    Args:
        path: run or model folder; or the name of a model that comes with the package, or of one of
            the Hugging Face Hub (``hf://user/name``), which is fetched; None for the model that
            reads words, whatever lies in the working folder.

    Raises:
        ConfigError: the name can be none of the Hub, or huggingface_hub is not installed.
        ModelError: the Hub has no such model, or cannot be reached.
    """
    if path is None:
        return shipped_folder()
    if is_shipped(path):
        return shipped_folder(str(path))
    if is_on_hub(path):
        return hub_folder(path)
    return Path(path)
