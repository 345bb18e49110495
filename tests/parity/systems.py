"""The systems that have recordings, and the comparison of one case."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from emotailor.errors import EmotailorError
from tests.parity.case import Case, CaseError, Comparison

MODELS = Path(__file__).parents[1] / "models"

SYSTEMS = sorted(
    file.parent.name for file in MODELS.glob("*/parity.py") if file.parent.name != "alignment"
)
"""Each has a module ``parity`` beside its tests with these functions:

``compare(case)``: the comparison of everything that was recorded.
``aside(case)``: the entries that are not compared: what the program was given or drew, and what
documents a defect of the program that is not imitated.
"""


def system_of(case: Case) -> str:
    """Return the name of the system that a case belongs to.

    Raises:
        CaseError: we have nothing to compare it with.
    """
    system = str(case.info.get("system"))
    if system.lower() not in SYSTEMS:
        raise CaseError(
            f"{case.path}: system {system!r} is not supported yet; supported: {', '.join(SYSTEMS)}"
        )
    return system.lower()


def module_of(case: Case) -> Any:
    """Return the module that compares a case."""
    return import_module(f"tests.models.{system_of(case)}.parity")


@contextmanager
def double_precision() -> Iterator[None]:
    """Compute in float64.

    Our side then has no rounding of its own to speak of: what differs is the rounding of the
    recorded float32 run, which the limits are made for.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        # models raise half precision with ``.float()``, which must not lower float64 here
        with patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(before)


def compare(case: Case) -> Comparison:
    """Run one case through the system it belongs to.

    Raises:
        CaseError: the case cannot be run, for instance because of an option that we do not have.
    """
    module = module_of(case)
    try:
        with double_precision():
            comparison: Comparison = module.compare(case)
    except EmotailorError as error:
        raise CaseError(f"{case.path}: {error}") from error
    unread = case.options.unread()
    if unread:
        comparison.notes.append(f"options unknown here, without effect: {', '.join(unread)}")
    return comparison
