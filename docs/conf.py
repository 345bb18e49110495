"""Sphinx settings: the Markdown pages beside this file, nothing else."""

from sphinx.application import Sphinx

project = "emotailor"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_copy_source = False
html_show_copyright = False


def _add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the site its navigation; on a forge the pages are read without."""
    if name == "index":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n*\nsystems/*\n```\n"


def setup(app: Sphinx) -> None:
    """Register the hook."""
    app.connect("source-read", _add_contents)
