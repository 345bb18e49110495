"""The rooms of the project, and which may know which."""

import ast
from pathlib import Path

import emotailor

ROOT = Path(emotailor.__file__).parent

# a room imports only from itself and the rooms before it
ORDER = ["foundation", "data", "nn", "models", "evaluation", "training", "serving", "runs",
         "comparison", "figures", "report", "paper", "commands", "cli"]  # fmt: skip
FOUNDATION = {"errors", "files", "folders", "config", "loading"}


def room(parts: tuple[str, ...]) -> str:
    name = parts[0]
    return "foundation" if name in FOUNDATION else name


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            head, _, rest = name.partition(".")
            if head == "emotailor" and rest:
                found.add(room(tuple(rest.split("."))))
    return found


def test_rooms_import_only_from_the_left() -> None:
    seen = 0
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if parts[0] in ("__init__", "__main__"):
            continue
        here = room(parts)
        allowed = set(ORDER[: ORDER.index(here) + 1])
        assert imports(file) <= allowed, f"{file}: {imports(file) - allowed}"
        seen += 1
    assert seen > 30


def test_configurations_and_data_do_not_import_torch() -> None:
    """A wrong setting is reported, and a data set inspected, before anything heavy is loaded."""
    import subprocess
    import sys

    light = [
        "emotailor.cli",
        "emotailor.training.run_config",
        "emotailor.data.inspect",
        "emotailor.data.convert",
        "emotailor.data.synthetic",
        "emotailor.data.validate",
        "emotailor.runs.train",
    ]
    code = f"import sys, {', '.join(light)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
