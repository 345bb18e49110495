"""The rooms of the project, and which may know which."""

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import emotailor

ROOT = Path(emotailor.__file__).parent

# a room imports only from itself and the rooms before it
ORDER = ["foundation", "data", "encoders", "data.readers", "extraction", "nn", "models",
         "evaluation", "shipped", "training", "export", "serving", "runs", "comparison", "figures",
         "report", "paper", "sharing", "testing", "service", "browse", "commands",
         "cli"]  # fmt: skip
FOUNDATION = {"errors", "inputs", "verified", "locks", "files", "folders", "config", "loading",
              "text", "frames", "meant", "wanted", "fitted", "watch", "shapes",
              "cores", "refused"}  # fmt: skip


def room(parts: tuple[str, ...]) -> str:
    name = parts[0]
    # foreign files are a room of their own: what is stored knows nothing of them
    if parts[:2] == ("data", "readers"):
        return "data.readers"
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


def modules() -> dict[str, Path]:
    """Name below ``emotailor`` -> file, of every module but the package itself."""
    found = {}
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts and parts != ("__main__",):
            found[".".join(parts)] = file
    return found


def imported_modules(file: Path, known: set[str]) -> set[str]:
    """The modules of the package that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        package, _, name = node.module.partition(".")
        if package != "emotailor":
            continue
        for alias in node.names:
            inner = f"{name}.{alias.name}".strip(".")
            found.add(inner if inner in known else name)
    return found & known


def test_no_import_goes_in_a_circle() -> None:
    files = modules()
    graph = {name: imported_modules(file, set(files)) for name, file in files.items()}
    assert sum(map(len, graph.values())) > 300
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from error


def test_no_room_is_larger_than_a_quarter() -> None:
    sizes: Counter[str] = Counter()
    for name, file in modules().items():
        lines = file.read_text(encoding="utf-8").splitlines()
        sizes[room(tuple(name.split(".")))] += len(lines)
    largest, most = sizes.most_common(1)[0]
    assert most <= sum(sizes.values()) / 4, (largest, most, sum(sizes.values()))


def test_a_system_is_named_in_few_places() -> None:
    """What there is to say of a system stands in its folder, its tests and its page."""
    root = ROOT.parents[1]
    name = "mi" + "sa"  # this file does not name it either
    own = (
        f"src/emotailor/models/{name}/",
        f"tests/models/{name}/",
        f"docs/systems/{name}.md",
        "docs/data-sources.md",  # of the files of its authors, not of the system
    )
    folders = ["src", "tests", "docs", "examples", "benchmarks", "scripts"]
    files = [file for folder in folders for file in (root / folder).rglob("*")]
    named = []
    for file in [*files, *root.glob("*.md")]:
        place = file.relative_to(root).as_posix()
        if not file.is_file() or file.suffix not in {".py", ".md", ".toml", ".txt"}:
            continue
        if place.startswith((*own, "docs/_build")):
            continue
        if re.search(rf"\b{name}\b", file.read_text(encoding="utf-8"), re.IGNORECASE):
            named.append(place)
    assert len(named) <= 10, named


def test_configurations_and_data_do_not_import_torch() -> None:
    """A wrong setting is reported, and a data set inspected, before anything heavy is loaded."""
    import subprocess
    import sys

    light = [
        "emotailor.cli",
        "emotailor.training.run_config",
        "emotailor.data.inspect",
        "emotailor.data.readers.convert",
        "emotailor.data.synthetic",
        "emotailor.data.validate",
        "emotailor.runs.train",
        # videos are looked at while PyTorch is loaded
        "emotailor.commands.videos",
        "emotailor.runs.videos",
    ]
    code = f"import sys, {', '.join(light)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
