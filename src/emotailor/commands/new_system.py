"""Starting a system of one's own: a working file and its test."""

import keyword
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from emotailor.errors import ConfigError
from emotailor.files import write_together


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
        ConfigError: the name cannot name a Python module, or a file is there already.
    """
    module = _module_name(name)
    title = "".join(part[:1].upper() + part[1:] for part in module.split("_"))

    folder = Path(folder)
    target = folder / f"{module}.py"
    test = folder / f"test_{module}.py"

    # both are free, or nothing is written
    for file in (target, test):
        if file.exists():
            raise ConfigError(
                f"{file} is there already",
                expected="a free path",
                fix="choose another name, or another folder with --out",
            )

    templates = files("emotailor.commands") / "templates"
    texts = {}
    for file, template in ((target, "model.py.txt"), (test, "test.py.txt")):
        text = (templates / template).read_text(encoding="utf-8")
        texts[file] = text.format(title=title, file=target.name)
    write_together(texts)
    return NewSystem(target, test, f"{target}:{title}")


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
