"""What lies in a folder, byte for byte, and how two folders differ."""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

Tree = Mapping[str, bytes | None]
"""Path below a folder -> content; None for a folder."""


def read_tree(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder."""
    found: dict[str, bytes | None] = {}
    for place, folders, files in os.walk(folder):
        inside = Path(place).relative_to(folder)
        for name in folders:
            found[(inside / name).as_posix()] = None
        for name in files:
            found[(inside / name).as_posix()] = (Path(place) / name).read_bytes()
    return found


def write_tree(tree: Tree, folder: Path) -> None:
    """Create a folder with this content."""
    folder.mkdir()
    for name in sorted(tree):
        content = tree[name]
        if content is None:
            (folder / name).mkdir(exist_ok=True)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def clear(folder: Path) -> None:
    """Remove a folder, whatever its modes are."""
    if folder.exists():
        shutil.rmtree(folder)


def below(tree: Tree, top: str) -> Tree:
    """Return the part of a tree at and below a path."""
    start = f"{top}/"
    return {name: value for name, value in tree.items() if name == top or name.startswith(start)}


def differences(
    found: Tree, expected: Tree, ignored: Callable[[str], bool] = lambda _: False
) -> list[str]:
    """Return a line for each path that is there in one tree alone, or holds something else."""
    lines = []
    for name in sorted(set(found) | set(expected)):
        if ignored(name):
            continue

        if name not in found:
            lines.append(f"{name} is missing")
        elif name not in expected:
            lines.append(f"{name} is left over")
        elif _plain(name, found[name]) != _plain(name, expected[name]):
            lines.append(f"{name} differs: {_first_difference(found[name], expected[name])}")
    return lines


def _plain(name: str, content: bytes | None) -> bytes | None:
    """Return a content without what depends on how often a comparison was called.

    The exit code of a run that an earlier call has trained is null, as ``StoredRun`` says.
    """
    if content is None or Path(name).name not in {"benchmark.json", "ablation.json"}:
        return content

    content = re.sub(rb'"exit_code": (null|0)', b'"exit_code": -', content)
    return re.sub(rb'"content_sha256": "[0-9a-f]{64}"', b'"content_sha256": -', content)


def _first_difference(found: bytes | None, expected: bytes | None) -> str:
    """Say where two contents part."""
    if found is None or expected is None:
        return "a folder and a file"

    shorter = min(len(found), len(expected))
    at = next((i for i in range(shorter) if found[i] != expected[i]), shorter)
    begin = max(at - 20, 0)
    here = found[begin : at + 20]
    there = expected[begin : at + 20]
    return f"{here!r}, expected {there!r} ({len(found)} and {len(expected)} bytes)"
