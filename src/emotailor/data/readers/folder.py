"""Which files of a folder a reader did not open, whatever the format."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from emotailor.data.readers._common import Reading
from emotailor.data.sample import Sample
from emotailor.text import plural


def with_folder(reading: Reading, source: Path | Mapping[str, Path]) -> Reading:
    """Return a reading whose account names the files in the source that were not opened.

    Args:
        reading: an opened source.
        source: the source; nothing is done where it is no folder.
    """
    if not isinstance(source, Path) or not source.is_dir():
        return reading

    def samples() -> Iterator[tuple[str, Sample]]:
        yield from reading.samples

        # known only now that all samples were read
        opened = {*reading.files, *reading.account.opened}
        if opened:
            reading.account.hold(f"files in {source.name}", _not_in(source, opened))

    return replace(reading, samples=samples())


def _not_in(folder: Path, opened: set[Path]) -> dict[str, str]:
    """Return the entries of a folder of which nothing was opened, and how they look."""
    known = {file.resolve() for file in opened}
    for file in tuple(known):
        known.update(file.parents)

    unused = {}
    for entry in sorted(folder.iterdir()):
        # what the system keeps there, such as .DS_Store
        if entry.name.startswith(".") or entry.resolve() in known:
            continue
        inside = ""
        if entry.is_dir():
            count = sum(1 for _ in entry.iterdir())
            inside = f"({plural(count, 'file')})"
        unused[entry.name] = inside
    return unused
