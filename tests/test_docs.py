"""The documentation tells the truth: its code runs, and what it names exists."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from emotailor.cli import app
from emotailor.config import Config, merge, parse_overrides
from emotailor.configs.run import DataConfig, RunConfig
from emotailor.configs.tailor import TailorConfig
from emotailor.configs.training import TrainingConfig
from emotailor.data.readers import FORMATS
from emotailor.data.synthetic import SyntheticConfig
from emotailor.errors import ConfigError, EmotailorError
from emotailor.evaluation.metrics import OVERALL

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "emotailor"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- skip-test: (?P<skip>.+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
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


def blocks(page: Path) -> list[Block]:
    content = page.read_text(encoding="utf-8")
    return [
        Block(m["language"], m["text"], content[: m.start("text")].count("\n") + 1, m["skip"])
        for m in FENCE.finditer(content)
    ]


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


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only get in each other's way in models this small
    namespace: dict[str, Any] = {"__name__": "documentation"}
    try:
        for block in blocks(page):
            if block.language == "python" and block.skip is None:
                code = "\n" * (block.line - 1) + block.text  # so that a traceback names the line
                exec(compile(code, str(page), "exec"), namespace)
    finally:
        torch.set_num_threads(threads)


def test_few_blocks_are_skipped() -> None:
    skipped = [block for page in PAGES for block in blocks(page) if block.skip]
    assert len(skipped) <= 2


# ---------------------------------------------------------------------- commands


def commands(page: Path) -> Iterator[tuple[list[str], str]]:
    """Every command of the console blocks, and what it is said to print."""
    for block in blocks(page):
        if block.language == "console":
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
    overrides = parse_overrides(settings.get("settings") or [])
    if command.name == "train":
        RunConfig.build({"data": {"path": "x"}}, overrides, preset=settings["preset"])
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


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_named_exist(page: Path) -> None:
    for name in re.findall(r"`([\w./-]+)`", prose(page)):
        if re.match(r"(src|tests|scripts|benchmarks|docs)/", name) and "_build" not in name:
            assert (ROOT / name).exists(), name
        elif re.fullmatch(r"(data|configs|nn|models|evaluation|training|serving)/[\w/]+\.py", name):
            assert (SOURCE / name).exists(), name


def test_every_page_is_on_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert page.name == "index.md" or f"]({page.name})" in index, page


# ---------------------------------------------------------------------- tables


def shown(value: Any) -> str | float:
    """A default as the pages write it."""
    if isinstance(value, bool | None):
        return str(value).lower()
    if isinstance(value, int | float):
        return float(value)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(
    ("page", "config"),
    [
        ("tailor.md", TailorConfig()),
        ("training.md", TrainingConfig()),
        ("training.md", DataConfig(path="—", modalities=None)),
        ("synthetic.md", SyntheticConfig()),
    ],
)
def test_every_setting_is_there_with_its_default(page: str, config: Config) -> None:
    path = ROOT / "docs" / page
    given: dict[str, str] = {}
    for header, *body in tables(path):
        if "default" in header:
            at = header.index("default")
            given |= {row[at - 1].strip("`"): row[at].strip("`") for row in body}
    for name, value in dict(config).items():
        assert f"`{name}`" in prose(path), name
        wanted = shown(value)
        if name in given and given[name] not in ("all", "by preset"):
            found = float(given[name]) if isinstance(wanted, float) else given[name]
            assert found == wanted, name


def test_every_divergence_has_its_row() -> None:
    text = (SOURCE / "models" / "tailor.py").read_text(encoding="utf-8")
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
    pages = {name: tables(ROOT / "docs" / f"{name}.md") for name in ("evaluation", "training")}
    evaluation = {cell for table in pages["evaluation"] for row in table for cell in row}
    assert {f"`{name}`" for name in OVERALL} <= evaluation
    first = {row[0] for table in pages["training"] for row in table}
    codes = {str(kind.exit_code) for kind in (EmotailorError, *EmotailorError.__subclasses__())}
    assert codes | {"0", "2", "141"} <= first
