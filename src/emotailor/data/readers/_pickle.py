"""Reading pickles without running anything they ask for.

A pickle is a program: it names functions, and loading calls them. Here a name is never imported.
The few that plain data need (NumPy arrays, containers, torch tensors) map to small functions of our
own that check their arguments; every other name is refused, or, in torch files, becomes an inert
placeholder that swallows whatever is done to it, so that unneeded settings do not matter.

The parts lie in ``safe/``: ``machine`` runs the opcodes, ``budget`` bounds what they make,
``arrays``, ``containers`` and ``torch_files`` are what can be named, ``nesting`` checks the result.
"""

from pathlib import Path
from typing import Any

from emotailor.data.readers._common import require_file, unreadable
from emotailor.data.readers._sniff import LEGACY_TORCH
from emotailor.data.readers.safe import arrays, containers
from emotailor.data.readers.safe.budget import Budget
from emotailor.data.readers.safe.machine import Function, Inert, Machine, printable, refused
from emotailor.data.readers.safe.nesting import MAX_DEPTH, refuse_deep_nesting
from emotailor.data.readers.safe.torch_files import TORCH_FILE, load_legacy, load_zip
from emotailor.errors import DataError

__all__ = [
    "MAX_DEPTH",
    "Inert",
    "load_pickle",
    "load_torch",
    "refuse_deep_nesting",
]

_PICKLE = "a complete pickle of NumPy arrays"
_NAMES = {**arrays.NAMES, **containers.NAMES}


def load_pickle(path: Path) -> Any:
    """Return what a pickle of NumPy arrays and plain containers holds, running nothing.

    Arrays of numbers and text are read-only views of the bytes that were read. Subclasses of
    dictionaries come out as dictionaries.

    Raises:
        DataError: the file is missing, damaged, names anything else, or asks for far more memory
            than its size.
    """
    require_file(path, "a pickle")

    def find(module: str, name: str) -> Function:
        known = _NAMES.get((module, name))
        if known is not None:
            return known

        asked = printable(f"{module}.{name}")
        raise DataError(
            f"{path} asks for {asked}; it was refused and nothing was run",
            expected="a pickle of NumPy arrays, lists, dictionaries and strings alone",
            fix="export the arrays again without other objects, if you trust where it is from",
        )

    budget = Budget(path.stat().st_size)
    with refused(path, _PICKLE), path.open("rb") as file:
        content = Machine(file, budget, find).run()
    refuse_deep_nesting(content, path)
    return content


def load_torch(path: Path) -> tuple[Any, list[str]]:
    """Return what a ``torch.save`` file holds, tensors as arrays, and the unknown types in it.

    Objects of unknown type are replaced by ``Inert``; nothing is run.

    Raises:
        DataError: the file is missing or damaged, or asks for far more memory than its size.
    """
    require_file(path, TORCH_FILE)
    with unreadable(path, TORCH_FILE), path.open("rb") as file:
        head = file.read(len(LEGACY_TORCH))
    load = load_legacy if head == LEGACY_TORCH else load_zip

    content, unknown = load(path)
    refuse_deep_nesting(content, path)
    return content, sorted(unknown)
