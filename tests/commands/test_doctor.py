"""The doctor says what is there, and what would be missing."""

import io
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch
from rich.console import Console

from emotailor.commands import doctor
from emotailor.training import precision


def shown() -> tuple[bool, str]:
    healthy, table = doctor.examine()
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return healthy, console.file.getvalue()


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(precision.matmul_rate, size=8, repeats=1)
    monkeypatch.setattr(doctor, "matmul_rate", small)


def test_a_healthy_machine() -> None:
    healthy, text = shown()
    assert healthy
    assert version("torch") in text
    assert "matrix product on cpu" in text
    assert "missing" not in text
    assert "…" not in text


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> str:
        if name == "h5py":
            raise PackageNotFoundError
        return version(name)

    monkeypatch.setattr(doctor, "version", lacking)
    healthy, text = shown()
    assert not healthy
    assert "missing: pip install emotailor" in text


def test_rates_are_positive() -> None:
    assert precision.matmul_rate(torch.float32, "cpu", size=8) > 0
