"""The documentation tells the truth: its code runs, and what it names exists."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

import emotailor
from emotailor.cli import app
from emotailor.comparison.given import build_config, chosen_systems, settings_layers
from emotailor.config import Config, merge, parse_overrides
from emotailor.data.readers import FORMATS
from emotailor.data.synthetic import SyntheticConfig
from emotailor.errors import ConfigError, EmotailorError
from emotailor.evaluation.metrics import OVERALL
from emotailor.models.table import SYSTEMS, find_system
from emotailor.models.tailor.config import TailorConfig
from emotailor.training.run_config import RunConfig
from scripts import tables as settings_tables
from tests.runs.runs import one_thread, run_cli

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "emotailor"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "systems").glob("*.md")),
]
WHOLE = ROOT / "docs" / "own-model.md"  # executed from top to bottom, commands too
CLASSIC = ("br", "lp", "cc")  # share a page
FENCE = re.compile(
    r"(?:^<!-- skip-test: (?P<skip>.+?) -->\n)?"
    r"^```(?P<language>[\w{}]*)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def named(path: Path) -> str:
    return path.name


@dataclass
class Block:
    """A fenced block: its language, its text and the line on which the text starts."""

    language: str
    text: str
    line: int
    skip: str | None
    file: str | None


def blocks(page: Path) -> list[Block]:
    content = page.read_text(encoding="utf-8")
    found = []
    for m in FENCE.finditer(content):
        line = content[: m.start("text")].count("\n") + 1
        found.append(Block(m["language"], m["text"], line, m["skip"], m["file"]))
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def tables(page: Path) -> list[list[list[str]]]:
    """Every table: its rows of cells, the header first, without the line below it."""
    found: list[list[list[str]]] = []
    before = ""
    for line in prose(page).splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            if set(line) - set("|-: "):
                found[-1].append([c.strip() for c in re.split(r"(?<!\\)\|", line.strip("|"))])
        before = line
    return found


# ---------------------------------------------------------------------- code


def test_a_whole_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model outside the package trains, resumes, explains itself and stands in the table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("emotailor.models.table._USED", {})
    namespace: dict[str, Any] = {"__name__": "documentation"}
    printed = []
    for block in blocks(WHOLE):
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(WHOLE), "exec"), namespace)
        elif block.language == "console":
            for arguments, _ in commands_of(block):
                done = run_cli(*arguments[1:])
                assert (done.code, done.err) == (0, ""), done
                printed.append(done.out)

    for name in ("gate", "rare_first"):
        sys.modules.pop(name, None)
    assert "already trained" in printed[2]
    table = Path("runs/table/table.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip(" *") for line in table.splitlines() if line.startswith("|")]
    assert {"BR", "Gate", "TAILOR"} <= {row.split(" ")[0] for row in rows}, table
    stored = json.loads(Path("runs/table/benchmark.json").read_text(encoding="utf-8"))
    assert len(stored["systems"]["gate.py:Gate"]["runs"]) == 2
    assert Path("runs/table/Gate/seed43/model/model.json").is_file()
    assert "w/o gates" in Path("runs/parts/table.md").read_text(encoding="utf-8")
    assert Path("runs/table/report.html").is_file()


@pytest.mark.parametrize("page", [page for page in PAGES if page != WHOLE], ids=named)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "documentation"}
    with one_thread():
        for block in blocks(page):
            if block.language == "python" and block.skip is None:
                code = "\n" * (block.line - 1) + block.text  # so that a traceback names the line
                exec(compile(code, str(page), "exec"), namespace)


def test_few_blocks_are_skipped() -> None:
    skipped = [block for page in PAGES for block in blocks(page) if block.skip]
    assert len(skipped) <= 2


# ---------------------------------------------------------------------- commands


def commands(page: Path) -> Iterator[tuple[list[str], str]]:
    """Every command of the console blocks, and what it is said to print."""
    for block in blocks(page):
        if block.language == "console":
            yield from commands_of(block)


def commands_of(block: Block) -> Iterator[tuple[list[str], str]]:
    """Every command of a console block, and what it is said to print."""
    text = block.text.replace("\\\n", " ")
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, printed = part.partition("\n")
        yield shlex.split(line, comments=True), printed


def check_command(arguments: list[str]) -> None:
    """Let the command line parse ``arguments`` without running anything."""
    command: Any = typer.main.get_command(app)
    rest = list(arguments)
    while hasattr(command, "commands"):
        if rest in ([], ["--help"], ["--version"]):
            return
        assert rest[0] in command.commands, f"no command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    settings = command.make_context("emotailor", rest).params
    given = settings.get("settings") or []
    if any(":" in str(settings.get(key)) for key in ("model", "models")):
        return  # a system from outside, which the page itself writes
    if command.name == "benchmark":
        rows = chosen_systems(settings["models"].split(","))
        layers = settings_layers(None, given, rows)
        for row in rows:
            own = [*layers(row), {"data": {"path": "x"}}]
            build_config(row.name, settings["preset"], own, 42, card=None)
        return
    overrides = parse_overrides(given)
    if command.name == "train":
        system = settings["model"] or "tailor"
        preset = settings["preset"]
        RunConfig.build({"data": {"path": "x"}}, overrides, system=system, preset=preset)
    elif command.name == "show":
        find_system(settings["name"])
    elif command.name == "synthesize":
        SyntheticConfig.parse(merge({"aligned": settings["aligned"]}, overrides))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for arguments, printed in commands(page):
        program, *rest = arguments
        if program == "make":
            assert re.search(rf"^{rest[0]}:", makefile, re.MULTILINE), arguments
        elif program == "emotailor" and printed.startswith("error: the configuration"):
            with pytest.raises(ConfigError) as caught:
                check_command(rest)
            assert printed.strip() == f"error: {caught.value}"
        elif program == "emotailor":
            check_command(rest)
        elif rest[:1] == ["-m"]:
            module = ROOT / rest[1].replace(".", "/")
            assert module.is_dir() or module.with_suffix(".py").is_file(), arguments
        elif program in ("python", "accelerate"):
            assert (ROOT / rest[0]).exists(), arguments


def test_a_wrong_command_would_be_found() -> None:
    for line, message in {
        "trian": "no command 'trian'",
        "train --frob 1": "No such option",
        "data convert x": "out_path",
        "evaluate x --thresholds best": "'best' is not one of",
        "train --data x --set model.depth=3": "model.depth = 3 is not a setting",
        "benchmark --data x --out y --set tailor:model.depth=3": "model.depth = 3 is not a setting",
        "benchmark --data x --out y --models tailor,oracle": "unknown model 'oracle'",
        "models show oracle": "unknown model 'oracle'",
    }.items():
        with pytest.raises(Exception, match=message):
            check_command(shlex.split(line))


# ---------------------------------------------------------------------- links and names


def anchors(page: Path) -> set[str]:
    """The anchors a forge gives to headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


GROUPS = {"systems", "readers", "metrics"}  # of entry points, which are no modules


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_names_of_the_package_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"\bemotailor((?:\.[A-Za-z_]\w*)+)", text):
        first, *rest = path.strip(".").split(".")
        if first in GROUPS:
            continue
        if first in emotailor.__all__:
            found = getattr(emotailor, first)
        else:
            found = import_module(f"emotailor.{first}")
        for name in rest:
            inner = getattr(found, name, None)
            found = inner if inner is not None else import_module(f"{found.__name__}.{name}")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_named_exist(page: Path) -> None:
    for name in re.findall(r"`([\w./-]+)`", prose(page)):
        if re.match(r"(src|tests|scripts|benchmarks|docs)/", name) and "_build" not in name:
            assert (ROOT / name).exists(), name
        elif re.fullmatch(r"[a-z]+/[\w/]+\.py", name) and (SOURCE / name.split("/")[0]).is_dir():
            assert (SOURCE / name).exists(), name


def toctree(page: Path) -> list[str]:
    """The pages of a page's tables of contents, in their order."""
    lines = [b.text.splitlines() for b in blocks(page) if b.language == "{toctree}"]
    return [line for text in lines for line in text if line and not line.startswith(":")]


def test_every_page_is_on_the_index_and_in_its_contents() -> None:
    docs = ROOT / "docs"
    index, systems = docs / "index.md", docs / "models.md"
    pages = [page.relative_to(docs).with_suffix("").as_posix() for page in PAGES[1:]]
    own = {page for page in pages if page.startswith("systems/")}
    assert sorted(toctree(systems)) == sorted(own)
    assert sorted(toctree(index)) == sorted({*pages, "api/index"} - own - {"index"})
    for name, linking in {index: set(pages) - own - {"index"}, systems: own}.items():
        linked = set(re.findall(r"\]\(([\w/-]+)\.md[)#]", prose(name)))
        assert linking <= linked, linking - linked


# ---------------------------------------------------------------------- tables


def page_of(name: str) -> Path:
    """The page that has a table of settings."""
    pages = {"data": "training", "alignment": "unaligned", "adapters": "encoders"}
    pages |= dict.fromkeys(("extraction", "picture", "sound", "speech", "utterance"), "video")
    if name in SYSTEMS and name != "tailor":
        return ROOT / "docs" / "systems" / f"{'classic' if name in CLASSIC else name}.md"
    return ROOT / "docs" / f"{pages.get(name, name)}.md"


def says(cell: str, value: Any) -> bool:
    """Whether a cell of a table gives a setting's value."""
    text = cell.strip("`")
    if isinstance(value, bool | None):
        return text == {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, int | float):
        return re.fullmatch(r"[\d.e-]+", text) is not None and float(text) == value
    return text == (", ".join(value) if isinstance(value, tuple) else str(value))


def test_tables_of_settings_are_those_of_the_code() -> None:
    assert settings_tables.main(["--check"]) == 0


def test_a_table_that_is_out_of_date_would_be_found() -> None:
    page = page_of("training").read_text(encoding="utf-8")
    assert settings_tables.rewrite(page) == page
    for old, new in {"| `0.35` |": "| `0.5` |", "largest norm": "norm"}.items():
        assert page.count(old) == 1
        assert settings_tables.rewrite(page.replace(old, new)) == page
    with pytest.raises(ConfigError, match="unknown model 'oracle'"):
        settings_tables.rewrite("<!-- table: oracle -->\n<!-- /table -->")


@pytest.mark.parametrize("name", [*settings_tables.SHARED, *SYSTEMS])
def test_every_setting_is_on_its_page_with_its_values(name: str) -> None:
    rows: dict[str, tuple[str, str, str]] = {}
    shown: dict[str, str] = {}
    for header, *body in tables(page_of(name)):
        if "default" in header and "meaning" in header:
            at = header.index("default")
            own = "`authors()`" in header
            rows |= {row[0]: (row[at], row[at + 1] if own else "", row[-1]) for row in body}
            if "`tuned()`" in header:
                tuned_at = header.index("`tuned()`")
                shown |= {row[0]: row[tuned_at] for row in body}
    config = settings_tables.config_of(name)
    defaults, authors, tuned = settings_tables.presets_of(config)
    for field in config.model_fields:
        if isinstance(defaults.get(field), Config):
            continue  # a table in a table has one of its own
        default, other, meaning = rows[f"`{field}`"]
        assert meaning, field
        if field in defaults:
            assert says(default, defaults[field]), (field, default)
            differs = authors[field] != defaults[field]
            assert says(other, authors[field]) if differs else other == "", (field, other)
            if tuned[field] == defaults[field]:
                assert shown.get(f"`{field}`", "") == "", field
            else:
                assert says(shown[f"`{field}`"], tuned[field]), field


def test_values_in_cells() -> None:
    for cell, value in (
        ("`256`", 256), ("`5e-6`", 5e-6), ("`true`", True), ("`none`", None), ("`mlp`", "mlp"),
        ("`visual, text`", ("visual", "text")), ("`0`", 0.0), ("`{}`", {}),
    ):  # fmt: skip
        assert says(cell, value), cell
    for cell, value in (("256", 255), ("", 0), ("true", False), ("none", 0), ("linear", "mlp")):
        assert not says(cell, value), cell


def test_every_divergence_has_its_row() -> None:
    text = (SOURCE / "models" / "tailor" / "model.py").read_text(encoding="utf-8")
    tags = set(re.findall(r"DIVERGENCE \(([\w ]+)\)", text))
    page = ROOT / "docs" / "tailor.md"
    (body,) = [body for header, *body in tables(page) if header[0] == "tag"]
    table = {row[0].strip("`"): [cell.strip("`") for cell in row] for row in body}
    assert set(table) == tags
    paper, authors = TailorConfig.paper(), TailorConfig.authors()
    switches = set()
    for _, _, _, switch, in_paper, in_authors in table.values():
        if switch != "none":
            switches.add(switch)
            assert str(getattr(paper, switch)) == in_paper, switch
            assert str(getattr(authors, switch)) == in_authors, switch
    assert switches == {
        n for n in TailorConfig.model_fields if getattr(paper, n) != getattr(authors, n)
    }


def test_code_named_beside_equations_exists() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in SOURCE.rglob("*.py"))
    for name, attribute in re.findall(r"`([A-Z]\w+)\.(\w+)`", prose(ROOT / "docs" / "tailor.md")):
        assert re.search(rf"^class {name}\b", text, re.MULTILINE), name
        assert re.search(rf"(def |self\.){attribute}\b", text), attribute


def test_formats_metrics_and_exit_codes_are_all_there() -> None:
    data = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name in FORMATS:
        assert f"\n### {name}\n" in data
        assert f"\n| `{name}` |" in data
    pages = {name: tables(ROOT / "docs" / f"{name}.md") for name in ("evaluation", "commands")}
    evaluation = {cell for table in pages["evaluation"] for row in table for cell in row}
    assert {f"`{name}`" for name in OVERALL} <= evaluation
    first = {row[0] for table in pages["commands"] for row in table}
    kinds: list[type[EmotailorError]] = [EmotailorError, *EmotailorError.__subclasses__()]
    codes = {str(kind.exit_code) for kind in kinds}
    assert codes | {"0", "2", "141"} <= first
