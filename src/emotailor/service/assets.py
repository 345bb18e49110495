"""The files of the pages: a fixed table. No path from a request reaches the file system."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from emotailor.report.page import STYLE_FILE

FOLDER = Path(__file__).with_name("pages")


@dataclass(frozen=True)
class Asset:
    """A file that comes with the package.

    Attributes:
        file: where it lies.
        media_type: what it is.
    """

    file: Path
    media_type: str

    @cached_property
    def content(self) -> bytes:
        """What it holds."""
        return self.file.read_bytes()


HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"

LOGIN = Asset(FOLDER / "login.html", HTML)
FRONT = Asset(FOLDER / "front.html", HTML)
"""The page at ``/``."""

STATIC: Mapping[str, Asset] = {
    "front.css": Asset(FOLDER / "front.css", CSS),
    "front.js": Asset(FOLDER / "front.js", SCRIPT),
    "login.js": Asset(FOLDER / "login.js", SCRIPT),
    # the look of all pages, a report to mail too
    "page.css": Asset(STYLE_FILE, CSS),
}
"""Name below ``/static/`` -> what it is."""
