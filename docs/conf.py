"""Sphinx settings: the Markdown pages beside this file, and the reference from the docstrings."""

import pkgutil
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx

import emotailor

project = "emotailor"
release = emotailor.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]  # a class that several modules offer under its one name
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
html_copy_source = False
html_show_copyright = False

autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_attr_annotations = False  # shapes such as "*steps" are no markup

ROOMS = {
    "data": "the data contract, the store, readers, synthetic data",
    "encoders": "from text to features",
    "extraction": "from videos to features",
    "nn": "blocks that several systems share",
    "models": "the contract of a model, and a folder per system",
    "evaluation": "metrics, thresholds, intervals, comparison",
    "training": "settings, the loop, checkpoints, run folders",
    "serving": "the predictor",
    "runs": "one run: train, evaluate, predict",
    "comparison": "several runs in one table",
    "figures": "the numbers behind figures, and drawing them",
    "report": "pages to mail",
    "paper": "the whole paper as one job",
    "sharing": "a model for the Hugging Face Hub",
    "browse": "a run sample by sample, in a browser",
    "commands": "what single commands do",
}


def _modules(room: str) -> list[str]:
    """The modules of a room, sorted."""
    package = import_module(f"emotailor.{room}")
    found = pkgutil.walk_packages(package.__path__, f"emotailor.{room}.")
    return sorted(module.name for module in found if not module.ispkg)


def _write(file: Path, text: str) -> None:
    """Write a page unless it is there as it should be: Sphinx then reads it again."""
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def _write_reference(app: Sphinx) -> None:
    """Write an index, a page of the public names, and one per room from its modules."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)

    names = sorted(name for name in emotailor.__all__ if name != "__version__")
    lines = ["Public names", "============", "", "``import emotailor`` gives these.", ""]
    for name in names:
        home = emotailor._HOMES[name]
        place, _, attribute = home.partition(":")
        lines.append(f"- ``emotailor.{name}``: :mod:`{place}`, ``{attribute or name}``")
    _write(folder / "public.rst", "\n".join(lines) + "\n")

    index = ["API", "===", "", ".. toctree::", "", "   public"]
    index += [f"   {room}" for room in ROOMS]
    _write(folder / "index.rst", "\n".join(index) + "\n")

    for room, what in ROOMS.items():
        title = f"emotailor.{room}"
        text = f"{title}\n{'=' * len(title)}\n\n{what.capitalize()}.\n"
        for module in _modules(room):
            short = module.removeprefix("emotailor.")
            text += f"\n{short}\n{'-' * len(short)}\n\n.. automodule:: {module}\n"
        _write(folder / f"{room}.rst", text)


def setup(app: Sphinx) -> None:
    """Register what is done before pages are read."""
    app.connect("builder-inited", _write_reference)
