"""The lock of a run folder, on every system that Python runs on."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import emotailor
from emotailor.errors import ConfigError
from emotailor.training.run_folder import RunFolder

HOLDER = """
import sys, time
from pathlib import Path
from emotailor.training.run_folder import RunFolder

with RunFolder(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(60)
"""

ONLY_UNIX = {"fcntl", "grp", "pwd", "pty", "resource", "termios"}


def imported_at_once(module: Path) -> set[str]:
    """Modules that a file imports when it is imported."""
    names: set[str] = set()
    for statement in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names.add(statement.module or "")
    return names


def test_a_folder_is_held_against_other_processes_until_its_holder_dies(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not folder.is_held()
    assert not folder.path.exists()  # asking leaves nothing behind

    command = [sys.executable, "-c", HOLDER, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert folder.is_held()
        with pytest.raises(ConfigError, match="another process") as caught, folder.held():
            pass
        assert caught.value.exit_code == 3
        assert folder.is_held()  # the refusal did not release it
        holder.kill()

    assert not folder.is_held()
    with folder.held():
        assert folder.is_held()
    assert not folder.is_held()


def test_an_error_releases_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(KeyError), folder.held():
        raise KeyError
    assert not folder.is_held()


def test_no_module_needs_unix_to_be_imported() -> None:
    package = Path(emotailor.__file__).parent
    files = sorted(package.rglob("*.py"))
    assert len(files) > 100
    bound = {str(file): found for file in files if (found := imported_at_once(file) & ONLY_UNIX)}
    assert bound == {}
