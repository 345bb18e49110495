"""Finding the code of others: what is there is found, and what is not is named."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emotailor.errors import ConfigError
from emotailor.loading import installed, load_object


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in an empty folder, and forget afterwards what was imported from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def failure(reference: str, kind: str = "reader") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_object(reference, kind)
    assert f"the {kind} {reference!r}" in caught.value.found
    return caught.value


def test_an_installed_module() -> None:
    import json.decoder

    assert load_object("json.decoder:JSONDecoder", "system") is json.decoder.JSONDecoder
    assert load_object("json.decoder:JSONDecoder.decode", "x") is json.decoder.JSONDecoder.decode


def test_a_module_and_a_package_of_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "loading_mine.py").write_text("answer = 42\n")
    (tmp_path / "loading_pack").mkdir()
    (tmp_path / "loading_pack/__init__.py").write_text("")
    (tmp_path / "loading_pack/inner.py").write_text("from loading_mine import answer as found\n")
    assert load_object("loading_mine:answer", "metric") == 42
    assert load_object("loading_pack.inner:found", "metric") == 42


def test_what_is_installed_comes_before_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("answer = 42\n")
    assert "answer" in failure("colorsys:answer").found


def test_a_file_is_loaded_once_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("class Reader:\n    value = 1\n")
    first = load_object("mine.py:Reader", "reader")
    assert load_object(f"{file}:Reader", "reader") is first
    file.write_text("class Reader:\n    value = 2\n")
    second = load_object("./mine.py:Reader", "reader")
    assert (first.value, second.value) == (1, 2)


def test_a_file_finds_the_modules_beside_it_and_may_hold_dataclasses(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "loading_beside.py").write_text("answer = 42\n")
    (folder / "mine.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from loading_beside import answer\n"
        "@dataclass\n"
        "class Box:\n"
        "    value: int = answer\n"
    )
    assert load_object("deep/mine.py:Box", "system")().value == 42


@pytest.mark.parametrize("reference", ["", ":", "json", "json:", ":loads", "file.py"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    expected = failure(reference).expected
    assert expected is not None
    assert "module:name" in expected
    assert "file.py:name" in expected


def test_a_module_that_is_not_there_is_named() -> None:
    error = failure("emotailor_nowhere:read", "metric")
    assert "no module 'emotailor_nowhere'" in error.found
    assert isinstance(error.__cause__, ModuleNotFoundError)
    error = failure("json.nowhere:read")
    assert "no module 'json.nowhere'" in error.found
    assert str(Path.cwd()) in (error.expected or "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"no file {Path('deep/nowhere.py')}" in failure("deep/nowhere.py:read").found
    (tmp_path / "folder.py").mkdir()
    assert "no file folder.py" in failure("folder.py:read").found


def test_a_name_that_is_not_there_is_named_with_the_likeliest(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def read_mine(): ...\n")
    error = failure("mine.py:read_mien")
    assert "'read_mien'" in error.found
    assert str(tmp_path / "mine.py") in error.found
    assert "read_mine" in (error.fix or "")
    assert isinstance(error.__cause__, AttributeError)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import emotailor_nowhere\n", ModuleNotFoundError),
        ("1 / 0\n", ZeroDivisionError),
        ("def broken(:\n", SyntaxError),
        ("import sys\nsys.exit(3)\n", SystemExit),
    ],
)
@pytest.mark.parametrize("reference", ["loading_broken:read", "loading_broken.py:read"])
def test_a_module_that_fails_is_named_with_its_own_exception(
    tmp_path: Path, text: str, cause: type[BaseException], reference: str
) -> None:
    (tmp_path / "loading_broken.py").write_text(text)
    error = failure(reference)
    assert "loading_broken" in error.found
    assert cause.__name__ in error.found
    assert isinstance(error.__cause__, cause)
    assert not [name for name in sys.modules if name.startswith("loading_broken")]


def distribution(folder: Path, name: str, points: str) -> None:
    """Lay out what installing a package leaves on ``sys.path``."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def test_entry_points_are_listed_without_importing_them(tmp_path: Path) -> None:
    distribution(tmp_path, "one", "[emotailor.tests]\na = nowhere.at_all:read\nb = json:loads\n")
    distribution(tmp_path, "two", "[emotailor.tests]\nb = json:loads\n[other]\nc = json:dumps\n")
    sys.path.append(str(tmp_path))
    assert installed("emotailor.tests") == {"a": "nowhere.at_all:read", "b": "json:loads"}
    assert installed("emotailor.nothing") == {}


def test_one_name_for_two_objects_is_refused(tmp_path: Path) -> None:
    distribution(tmp_path, "one", "[emotailor.tests]\nb = json:loads\n")
    distribution(tmp_path, "two", "[emotailor.tests]\nb = json:dumps\n")
    sys.path.append(str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        installed("emotailor.tests")
    for part in ("'b'", "json:loads", "json:dumps", "emotailor.tests"):
        assert part in caught.value.found
