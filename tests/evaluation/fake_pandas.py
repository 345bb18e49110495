"""A stand-in for pandas, which is optional: it keeps what it is given."""

import sys
from types import ModuleType
from typing import Any

import pytest


class DataFrame:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.index = ""

    def set_index(self, name: str) -> "DataFrame":
        assert all(name in row for row in self.rows)
        self.index = name
        return self


def with_fake_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("pandas")
    module.DataFrame = DataFrame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", module)


def without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
