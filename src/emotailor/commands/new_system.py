"""Starting a system of one's own: a working file and its test."""

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from emotailor.errors import ConfigError
from emotailor.files import remove_left, write_together


@dataclass(frozen=True)
class NewSystem:
    """What was written.

    Attributes:
        module: the file with the system.
        test: the file with its test.
        reference: how the system is named on the command line.
    """

    module: Path
    test: Path
    reference: str


def write_system(name: str, folder: str | Path = ".") -> NewSystem:
    """Write a working system to start from, and a test that it passes.

    Args:
        name: a name for the system, such as ``my_model``; the class is called ``MyModel``.
        folder: the folder to write into; it is made where it is not there.

    Raises:
        ConfigError: the name cannot name a Python module, or a file is there already, unless a
            killed call has left it alone there.
    """
    module = _module_name(name)
    title = "".join(part[:1].upper() + part[1:] for part in module.split("_"))

    folder = Path(folder)
    target = folder / f"{module}.py"
    test = folder / f"test_{module}.py"

    templates = files("emotailor.commands") / "templates"
    texts = {}
    for file, template in ((target, "model.py.txt"), (test, "test.py.txt")):
        text = (templates / template).read_text(encoding="utf-8")
        texts[file] = text.format(title=title, file=target.name)

    _refuse_to_lose(texts)
    write_together(texts)
    return NewSystem(target, test, f"{target}:{title}")


def _refuse_to_lose(texts: Mapping[Path, str]) -> None:
    """Refuse where one of the files is there, unless a killed call has written just that one.

    Raises:
        ConfigError: a file is there already.
    """
    there = [file for file in texts if file.exists()]
    if not there:
        return

    as_written = all(file.read_bytes() == texts[file].encode() for file in there)
    if as_written and len(there) < len(texts):
        return

    for file in texts:
        remove_left(file)
    raise ConfigError(
        f"{there[0]} is there already",
        expected="a free path",
        fix="choose another name, or another folder with --out",
    )


def _module_name(name: str) -> str:
    """Return a name as modules have it: ``MyModel`` and ``my model`` are ``my_model``.

    Raises:
        ConfigError: the name cannot name a Python module.
    """
    # an underscore between words, and before a capital in one
    between_words = r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+"
    module = re.sub(between_words, "_", name.strip()).lower()

    can_be_imported = module.isidentifier() and not keyword.iskeyword(module)
    if not can_be_imported or not module.isascii():
        raise ConfigError(
            f"{name!r} cannot be the name of a system",
            expected="letters, digits and _, with a letter first, such as my_model",
        )
    return module
