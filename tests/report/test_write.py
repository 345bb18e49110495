"""The report: numbers are the stored ones, no name is taken for markup, parts may be missing."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from emotailor.cli import app
from emotailor.comparison.benchmark import plan_benchmark
from emotailor.comparison.results import StoredBenchmark, read_benchmark
from emotailor.data.sample import Sample
from emotailor.data.store import open_dataset, write_dataset
from emotailor.errors import ConfigError, DataError, EmotailorError, ModelError
from emotailor.evaluation.comparison import summarise_seeds
from emotailor.evaluation.display import TITLES, number
from emotailor.evaluation.metrics import OVERALL, Metrics, evaluate
from emotailor.evaluation.tables import COLUMNS, short, spread
from emotailor.figures import make as figures
from emotailor.figures.store import Claim, FigureFolder, FigureIndex, IndexedData
from emotailor.files import write_json
from emotailor.models.table import SYSTEMS
from emotailor.report import figures as report_figures
from emotailor.report import source as report_source
from emotailor.report.benchmark import (
    benchmark_command,
    benchmark_sections,
)
from emotailor.report.chart import chart_of_systems
from emotailor.report.mistakes import _LOOKS, _explained, confident_mistakes
from emotailor.report.page import (
    Cell,
    Dot,
    DotPlot,
    Image,
    Page,
    Range,
    Section,
    Spoken,
    Strip,
    Table,
    Text,
    element,
    size_of,
)
from emotailor.report.parts import departures, shell, toml_value, training_command
from emotailor.report.write import write_report
from emotailor.runs.stored import (
    StoredPredictions,
    read_evaluation,
    read_predictions,
    write_results,
)
from emotailor.runs.train import plan_runs
from emotailor.serving.prediction import Explanation
from emotailor.training.recipe import recipe
from emotailor.training.run_config import RunConfig
from tests import kills
from tests.helpers import DIMS, LABELS, random_samples
from tests.runs.runs import run_cli, tiny_config, train_tiny

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt; \u202egnp '" + "w" * 99,
)
ID = "</style><svg onload=alert(2)> 'é'[0]"
VOID = {"meta", "img"}


class Parsed(HTMLParser):
    """What a browser makes of a page: well-nested elements, attributes, texts, tables."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self._caption or " ".join(self._rows[0])] = self._rows

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.texts.append(data)
        if "caption" in self.open:
            self._caption += data
        elif ("td" in self.open or "th" in self.open) and "svg" not in self.open:
            self._rows[-1][-1] += data.strip("\n")

    @property
    def text(self) -> str:
        return "".join(self.texts)


def parsed(file: Path) -> Parsed:
    page = file.read_text(encoding="utf-8")
    found = Parsed(page)
    check_harmless(page, found)
    return found


def check_harmless(page: str, found: Parsed) -> None:
    """Nothing is loaded, nothing runs."""
    assert not re.search(r"https?:|//\w|url\(|@import", re.sub(r"base64,[\w+/=]+", "", page))
    allowed = {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not allowed & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        if "src" in attributes:
            assert re.match(r"data:image/(png|svg\+xml);base64,", attributes["src"] or "")
        if "href" in attributes:
            assert re.fullmatch(r"#s\d+", attributes["href"] or "")
    (policy,) = [a["content"] for t, a in found.tags if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


# ---------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a report and everything that the report made."""
    run = train_tiny(data, tmp_path_factory.mktemp("run") / "run")
    few = {name: figures.FIGURES[name] for name in ("figure4-losses", "figure6-tsne")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", few)  # the others have tests of their own
        write_report(run, device="cpu")
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation and figures must not be made again."""

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(report_source, "evaluate_run", again)
    monkeypatch.setattr(figures, "make_figures", again)


def move_data(run: Path, path: str) -> None:
    config = json.loads((run / "config.json").read_text())
    config["config"]["data"]["path"] = path
    write_json(run / "config.json", config)


def test_every_number_is_the_stored_one(run: Path) -> None:
    stored = json.loads((run / "evaluation-test.json").read_text())
    found = parsed(run / "report.html").tables
    header, *rows = found["7 samples, by kind of threshold"]
    assert header == ["metric", "tuned", "95 % interval", "fixed", "per label", "macro", "share"]
    for name, row in zip(OVERALL, rows, strict=True):
        modes = ("tuned", "fixed", "per_label", "macro", "share")
        values = [number(stored["metrics"][m][name]) for m in modes]
        ends = stored["intervals"].get(name)
        shown = f"{number(ends['low'])} to {number(ends['high'])}" if ends else ""
        assert row == [TITLES[name], values[0], shown, *values[1:]]
    header, *rows = found["Thresholds tuned"]
    keys = ["threshold", "support", "predicted", "precision", "recall", "f1"]
    keys += ["average_precision", "roc_auc"]
    for label, row in zip(LABELS, rows, strict=True):
        values = stored["metrics"]["tuned"]["labels"][label]
        wanted = [f"{values[k]:,}" if k in keys[1:3] else number(values[k]) for k in keys]
        assert row == [label, *wanted]
    history = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    header, *rows = next(v for k, v in found.items() if k.startswith("Micro-F1, Acc and"))
    for record, row in zip(history, rows, strict=True):
        assert row[0] == str(record["epoch"])
        assert row[1] == number(record["valid"]["micro_f1"])
        assert row[header.index("total")] == f"{record['train']['total']:.4g}"
        # what is shown of the parts is what they add to the total
        parts = row[header.index("total") + 1 : -1]
        assert len(parts) == len(record["train"]) - 1
        assert sum(map(float, parts)) == pytest.approx(float(record["train"]["total"]), rel=2e-3)


def test_the_reliability_curve_is_the_stored_one(run: Path) -> None:
    stored = json.loads((run / "evaluation-test.json").read_text())["calibration"]
    found = parsed(run / "report.html").tables
    _, *rows = found["Reliability: all labels of all samples"]
    for one, row in zip(stored["bins"], rows, strict=True):
        mean, share = number(one["mean_probability"]), number(one["share_true"])
        assert row == [f"{one['low']:g} to {one['high']:g}", f"{one['count']}", mean, share]
    assert sum(one["count"] for one in stored["bins"]) == 7 * len(LABELS)

    _, *rows = found["Errors"]
    for errors, row in zip([stored, *stored["labels"].values()], rows, strict=True):
        assert row[1] == number(errors["expected_calibration_error"])
        assert row[4] == number(errors["brier_score"])
    assert [row[0] for row in rows] == ["all labels", *LABELS]


def test_a_place_that_cannot_be_written_to_is_found_at_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may, asked = os.access, []

    def access(path: Any, mode: int) -> bool:  # root may write anywhere
        if mode == os.W_OK:
            asked.append(path)
        return mode != os.W_OK and may(path, mode)

    monkeypatch.setattr(os, "access", access)
    out = tmp_path / "deep" / "page.html"
    run_cli("report", run, "--out", out).failed(3, f"{tmp_path} cannot be written to", "--out")
    assert asked == [tmp_path]
    assert not out.parent.exists()


def test_it_has_everything_a_reader_asks_for(run: Path, data: Path) -> None:
    page = parsed(run / "report.html")
    card = json.loads((run / "model" / "model.json").read_text())
    for text in (
        "TAILOR on small", "test split, seed 5, from run", card["data"]["fingerprint"],
        card["weights"]["sha256"], card["device"], "torch", "Zhang, Chen, Shen and Wang.",
        str(data),
        f"Where it departs from the preset “{departures(tiny_config(data), aligned=True).preset}”",
        "emotailor report", "How to read this page",
    ):  # fmt: skip
        assert text in page.text, text
    index = json.loads((run / "figures" / "index.json").read_text())
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == sum(name.endswith(".svg") for name in index["written"])
    assert all(image["alt"] for image in images)
    for why in index["skipped"].values():
        assert why in page.text
    headings = [
        (tag, text) for tag, text in zip([t for t, _ in page.tags], page.texts, strict=False)
    ]
    assert headings
    assert {"h1", "h2", "h3", "h4"} <= {tag for tag, _ in page.tags}


def test_the_same_run_gives_the_same_bytes(run: Path, untouched: None) -> None:
    first = (run / "report.html").read_bytes()
    dead = kills.plant_dead(run, run / "model", run / "figures")
    written = write_report(run, out=run.parent / "a.html", device="cpu")
    assert not any(left.exists() for left in dead)
    assert written.missing == ()
    again = written.file.read_bytes()
    there = re.search(rb"emotailor report (\S+/run)", first)
    assert there is not None

    def comparable(page: bytes, folder: bytes) -> bytes:
        """Without the path, and the commands in one line: where they break depends on it."""
        return re.sub(rb" \\\n +", b" ", page.replace(folder, b""))

    assert comparable(again, str(run).encode()) == comparable(first, there[1])


def test_figures_that_are_replaced_while_they_are_read(
    run: Path, untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process draws a single one when the first has been read: the others are gone."""
    folder = FigureFolder(run / "figures")
    index = folder.read_index()
    assert len(index.drawn) == 2
    first = index.drawn[0]
    shown: list[str] = []

    def replaced_after(file: Path) -> bytes:
        content = file.read_bytes()
        shown.append(file.stem)
        if len(shown) == 1:
            with folder.replacing() as new:
                written = new.write_figure(first, {}, {"svg": content})
                names = [written_file.name for written_file in written]
                new.write_index(index.model_copy(update={"written": names}))
        return content

    monkeypatch.setattr(report_figures, "embedded", replaced_after)
    source = report_source.open_source(run, None, None, "cpu")
    (section, *_), _ = report_figures.figure_sections(source)
    assert shown == [first, first]
    assert [isinstance(block, Image) for block in section.blocks].count(True) == 1


def test_mistakes_are_explained(run: Path) -> None:
    page = parsed(run / "report.html")
    cards = sum(tag == "article" for tag, _ in page.tags)
    strips = [a for tag, a in page.tags if tag == "svg"]
    assert cards > 0
    assert len(strips) == 3 * cards  # modalities
    assert (
        len(re.findall(r"Most evidence for|Most evidence against|No modality speaks", page.text))
        == cards
    )
    assert page.text.count("threshold 0.") >= cards


def test_the_most_confident_mistakes_by_hand() -> None:
    labels = np.array([[0, 1], [0, 0], [1, 1], [0, 0], [1, 0]], np.uint8)
    p = np.array([[0.9, 0.5], [0.6, 0.9], [0.1, 0.2], [0.8, 0.3], [0.7, 0.65]])
    cuts = np.array([0.5, 0.6])
    found = StoredPredictions(tuple("abcde"), ("x", "y"), labels, p, p > cuts)
    wrong = confident_mistakes(found, cuts, kind="false positive")
    # of label 0: a, d, b; of label 1: b, e; b is taken by label 1, and each turn has both
    assert [(x.sample, x.label) for x in wrong] == [(0, 0), (1, 1), (3, 0), (4, 1)]
    assert wrong[0].distance == pytest.approx(np.log(9))
    assert wrong[1].distance == pytest.approx(np.log(9) - np.log(1.5))
    two = confident_mistakes(found, cuts, kind="false positive", count=2)
    assert [(x.sample, x.label) for x in two] == [(0, 0), (1, 1)]
    missed = confident_mistakes(found, cuts, kind="false negative")
    # c misses both labels and is shown for the one farther away
    assert [(x.sample, x.label) for x in missed] == [(2, 0), (0, 1)]
    sure = StoredPredictions(found.ids, found.label_names, labels, labels.astype(float), labels > 0)
    assert confident_mistakes(sure, cuts, kind="false negative") == []
    edge = StoredPredictions(found.ids, found.label_names, labels, 1.0 - labels, labels == 0)
    ends = confident_mistakes(edge, np.array([0.0, 1.0]), kind="false positive")
    assert np.isfinite([x.distance for x in ends]).all()


def test_the_command_trains_the_same_again(data: Path) -> None:
    config = tiny_config(data)
    command = training_command(config, "a run", aligned=True)
    values = dict(zip(*[iter(shlex.split(command.replace("\\\n", ""))[2:])] * 2, strict=True))
    parsed_command: Any = typer.main.get_command(app)
    params = (
        parsed_command.commands["train"]
        .make_context("train", shlex.split(command.replace("\\\n", ""))[2:])
        .params
    )
    (planned,) = plan_runs(
        data=params["data"], out=params["out_path"], system=params["model"],
        preset=params["preset"].value, settings=params["settings"], seed=params["seed"],
    )  # fmt: skip
    assert planned.config == config
    assert str(planned.folder) == "a run-again"
    assert values["--seed"] == "5"
    patient = next(name for name in SYSTEMS if recipe(name).patience is not None)
    unsayable = RunConfig.build(
        {"data": {"path": "x"}, "training": {"patience": None}}, system=patient
    )
    assert "--config 'a run/config.json'" in training_command(unsayable, "a run", aligned=True)
    assert departures(RunConfig.build({"data": {"path": "x"}}), aligned=True).values == {}


def test_values_as_options() -> None:
    for value, text in (
        (True, "true"), (1e-05, "1e-05"), ("tuned", "tuned"), ("true", '"true"'), ("a b", '"a b"'),
        (["visual"], '["visual"]'), (None, None), ([None], None), ("", '""'),
    ):  # fmt: skip
        assert toml_value(value) == text
    assert shell(["a", "--b", "c d"]) == "a --b 'c d'"
    assert shlex.split(shell(["a", *["--set", "x" * 40] * 5]).replace("\\\n", ""))[-1] == "x" * 40


def test_without_its_data(run: Path, untouched: None) -> None:
    move_data(run, "gone/data")
    outcome = run_cli("report", run)
    assert (outcome.code, outcome.err) == (0, "")
    (missing,) = re.findall(r"^note: (.*)$", outcome.out, re.MULTILINE)
    assert missing.startswith("The data set gone/data, on which")
    assert missing.endswith(
        "Left out: new predictions and explanations, and the card of the data set."
    )
    page = parsed(run / "report.html")
    assert missing in page.text
    assert "7 samples, by kind of threshold" in page.tables
    assert "article" in {tag for tag, _ in page.tags}
    assert "svg" not in {tag for tag, _ in page.tags}
    assert "Data set" not in page.texts


def test_without_data_and_evaluation(run: Path) -> None:
    move_data(run, "gone/data")
    for name in ("evaluation-test.json", "predictions-test.csv"):
        (run / name).unlink()
    shutil.rmtree(run / "figures")
    missing = write_report(run).missing
    assert len(missing) == 3
    assert "No evaluation of this model on split 'test' is stored" in missing[1]
    page = parsed(run / "report.html")
    assert "Settings" in page.texts
    assert "Metrics" not in page.texts


@pytest.mark.parametrize(
    "change", ["data", "thresholds", "probabilities", "ids", "damaged", "short"]
)
def test_a_stored_evaluation_of_something_else_is_not_used(run: Path, change: str) -> None:
    summary, table = run / "evaluation-test.json", run / "predictions-test.csv"
    right, values = summary.read_text(), json.loads(summary.read_text())
    rows = table.read_text().splitlines()
    if change == "data":
        values["data"]["fingerprint"] = "0" * 16
    elif change == "thresholds":
        values["metrics"]["tuned"]["labels"]["sad"]["threshold"] = 0.123
    elif change == "probabilities":
        values["metrics"]["tuned"]["micro_f1"] += 0.1
    elif change == "ids":
        rows[1] = "another" + rows[1][rows[1].index(",") :]
    elif change == "short":
        rows = rows[:-1]
    table.write_text("\n".join(rows) + "\n")
    write_json(summary, values)
    if change == "damaged":
        summary.write_text("{")
    write_report(run, device="cpu")
    assert json.loads(summary.read_text())["metrics"] == json.loads(right)["metrics"]
    assert summary.read_text() == right


def test_predictions_of_another_model_are_noticed(run: Path) -> None:
    """Same metrics and thresholds, other probabilities on the same sides of them."""
    table = run / "predictions-test.csv"
    right = table.read_text()
    header, *rows = [line.split(",") for line in right.splitlines()]
    for row in rows:
        row[4:7] = [f"{float(p) * 0.999 + 0.0005:.6f}" for p in row[4:7]]
    table.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    write_report(run, device="cpu")
    assert table.read_text() == right


def test_a_model_folder_alone(run: Path, data: Path) -> None:
    shutil.copytree(run / "figures", run / "model" / "figures")
    report = write_report(run / "model", data=data, device="cpu")
    assert report.file == run / "model" / "report.html"
    page = parsed(report.file)
    assert "does not say how it was trained" in page.text
    assert f"--data {data}" in page.text.replace("\\\n    ", "")
    assert "does not say which data" in write_report(run / "model").missing[0]


def test_damaged_parts_are_named(run: Path) -> None:
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (run / "config.json").write_text("{")
    (run / "figures" / "claims.json").write_text("[]")
    missing = write_report(run).missing
    assert f"{run / 'config.json'} is damaged" in missing[0]
    assert "was trained on cannot be told" in missing[1]
    assert f"{run / 'config.json'} is damaged" in missing[1]
    assert f"{run / 'metrics.jsonl'} is damaged" in missing[2]
    parsed(run / "report.html")


def test_mistakes_of_the_user(run: Path, tmp_path: Path) -> None:
    run_cli("report", tmp_path / "nowhere").failed(5, "which does not exist", "or a benchmark")
    run_cli("report", tmp_path).failed(5, "is a folder of runs: run", f"{tmp_path}/run")
    run_cli("report", run, "--data", tmp_path / "none").failed(4, "no data set at")
    run_cli("report", run, "--split", "tset").failed(4, "no split 'tset'")
    (run / "model" / "model.json").write_text("{")
    run_cli("report", run).failed(5, "model.json is damaged")
    (run / "benchmark.json").write_text("{")
    run_cli("report", run).failed(4, "benchmark.json is damaged", "run the benchmark again")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report full of names that look like markup."""
    splits = {
        split: [
            Sample(f"{split}{i} {ID}", s.sequences, s.labels)
            for i, s in enumerate(random_samples(size, seed=k))
        ]
        for k, (split, size) in enumerate({"train": 23, "valid": 11, "test": 7}.items())
    }
    folder = tmp_path_factory.mktemp("hostile") / "<b onclick=x>'\"&amp;"
    write_dataset(
        folder / "data", splits, name="<h1>'\"", label_names=HOSTILE, dims=DIMS, aligned=True,
        provenance={"source": "</code><script>3</script>"},
    )  # fmt: skip
    run = train_tiny(folder / "data", folder / "run", epochs=1)
    folder_of_figures = FigureFolder(run / "figures")
    folder_of_figures.path.mkdir()
    (run / "figures" / "x<i>.svg").write_text("<svg><script>alert(4)</script></svg>")
    claim = Claim("<n>", "<p>", "<q>", "<script>7</script>", None)
    folder_of_figures.write_claims([claim], split="test", planted=False)
    fingerprint = open_dataset(folder / "data").card.fingerprint
    index = FigureIndex(
        system="tailor", split="test", written=["x<i>.svg", "claims.json"],
        data=IndexedData(fingerprint=fingerprint),
        skipped={"<s>": "<script>5</script>"}, notes=["<script>6</script>"],
    )  # fmt: skip
    folder_of_figures.write_index(index)
    report = write_report(run, device="cpu")
    assert report.missing == ()
    return run


def test_hostile_names(hostile: Path) -> None:
    page = parsed(hostile / "report.html")
    for text in ("<s>: <script>5</script>", "<script>6</script>.", "<script>7</script>"):
        assert text in page.texts
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert "TAILOR on <h1>'\"" in page.texts
    for name in HOSTILE:
        assert name.replace("\u202e", "\ufffd") in page.texts
    assert any(text.endswith(ID) for text in page.texts)
    assert str(hostile.with_name("data")) in page.text
    assert "</code><script>3</script>" in page.text
    assert "\u202e" not in page.text


# ---------------------------------------------------------------------- benchmarks


def metrics_of(seed: int) -> Metrics:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (31, 3))
    return evaluate(labels, np.clip(0.6 * labels + 0.4 * rng.random((31, 3)), 0, 1), LABELS, 0.5)


def stored_benchmark(data: Path, *, kind: str = "benchmark") -> dict[str, Any]:
    """What a benchmark of four systems stores: two are done, one failed, one was skipped."""
    systems: dict[str, Any] = {}
    for k, (name, title) in enumerate((("br", "BR"), ("tailor", "TAILOR"), ("simm", "SIMM"))):
        found = [metrics_of(10 * k + i) for i in range(2)]
        config = RunConfig.build(
            {"data": {"path": str(data)}, "training": {"epochs": 3}}, system=name
        )
        systems[name] = {
            "title": title,
            "paper": f"Cited, {title}.",
            "status": "done",
            "skipped": None,
            "summary": summarise_seeds(found).model_dump(mode="json"),
            "minus_reference": {} if name == "tailor" else {
                m: {"value": 0.0123, "low": -0.01, "high": 0.03, "level": 0.95, "p_value": 0.0456}
                for m in ("accuracy", "micro_f1")
            },
            "published": {"accuracy": 0.222, "micro_f1": 0.386},
            "parameters": 4321,
            "seconds": 61.4,
            "config": config.replace(training={**config.training.to_json(), "seed": 7}).to_json(),
            "runs": [
                {
                    "seed": 7 + i, "folder": f"o/{name}/seed{7 + i}",
                    "log": f"o/{name}/seed{7 + i}.log",
                    "failed": None, "exit_code": 0, "seconds": 61.4, "epochs": 3,
                    "selected_epoch": 2, "metrics": {"tuned": m.model_dump(mode="json")},
                    "notes": ["a note of a run"] if name == "br" else [],
                }
                for i, m in enumerate(found)
            ],
        }  # fmt: skip
    failed = systems["simm"]
    failed |= {"status": "failed", "minus_reference": {}}
    failed |= dict.fromkeys(("summary", "parameters", "seconds"))
    for one in failed["runs"]:
        for key in ("metrics", "seconds", "epochs", "selected_epoch", "notes"):
            del one[key]
        one |= {
            "failed": "exit code 5: <i>diverged</i> at step 3\n  expected: less",
            "exit_code": 5,
        }
    systems["sgm"] = {**failed, "title": "SGM", "status": "skipped", "skipped": "it needs <text>",
                      "config": None, "runs": []}  # fmt: skip
    return {
        "format": f"emotailor-{kind}", "emotailor": "0.1.0",
        "data": {"name": "<small>", "path": str(data), "fingerprint": "f" * 16, "aligned": True,
                 "samples": {"train": 23, "test": 7}},
        "split": "test", "thresholds": "tuned", "paper": "Table 2",
        "jobs": {"at_once": 2, "threads": 1},
        "test": {"reference": "tailor", "resamples": 2000},
        "notes": ["BR: a note of a run", "Paper: as published.", "± is the deviation."],
        "systems": systems,
    }  # fmt: skip


@pytest.fixture
def bench(data: Path, tmp_path: Path) -> Path:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "benchmark.json").write_text(json.dumps(stored_benchmark(data)))
    return tmp_path / "bench"


def test_a_benchmark(bench: Path, data: Path) -> None:
    outcome = run_cli("report", bench)
    assert outcome.code == 0
    assert "The card of the data set is short" in outcome.out  # its fingerprint is another
    page, stored = parsed(bench / "report.html"), stored_benchmark(data)["systems"]
    header, br, tailor, simm, sgm = page.tables["All systems on the same samples"]
    assert header[2:] == [TITLES[m] for m in COLUMNS]
    for name, row in (("br", br), ("tailor", tailor)):
        runs = [Metrics.model_validate(r["metrics"]["tuned"]) for r in stored[name]["runs"]]
        overall = summarise_seeds(runs).overall
        assert row == [stored[name]["title"], "2/2", *(spread(overall[m]) for m in COLUMNS)]
    assert (simm[:3], sgm[:3]) == (["SIMM", "0/2", "failed"], ["SGM", "", "skipped"])
    _, row = page.tables["micro-F1 minus that of TAILOR"]
    assert row == ["BR", "+.012", "-.010 to +.030", "0.0456", "0.0456"]
    problems = page.tables["system what why log"]
    why = "exit code 5: <i>diverged</i> at step 3 expected: less"
    assert problems[1] == ["SIMM", "seed 7 failed", why, "o/simm/seed7.log"]
    assert problems[3] == ["SGM", "skipped", "it needs <text>", ""]
    assert "2 runs failed; the numbers are of the others." in page.texts
    published = page.tables["Measured here and published (Table 2)"]
    mean = stored["tailor"]["summary"]["overall"]["accuracy"]["mean"]
    assert published[2][:3] == ["TAILOR", short(mean), ".222"]
    assert page.tables["What training took"][1] == ["BR", "0:01:01", "4,321", "3, 3", "2, 2"]
    assert len(page.tables["F1 of each label"]) == 3
    assert "BR: a note of a run" in page.texts
    assert (bench / "report.html").read_bytes() == write_report(bench).file.read_bytes()


def test_a_benchmark_with_baselines(bench: Path, data: Path) -> None:
    """They are rows, lines of the chart and in the verdict; who is below them is named."""
    values = stored_benchmark(data)
    floor = metrics_of(77).model_copy(update={"micro_f1": 0.999})
    weak = metrics_of(77).model_copy(update={"micro_f1": 0.123})
    values["baselines"] = {
        name: {"metrics": metrics.model_dump(mode="json")}
        for name, metrics in (
            ("all labels", weak), ("label frequencies", weak), ("logistic regression", floor),
        )
    }  # fmt: skip
    for name, mean in (("br", 0.8), ("tailor", 0.9)):
        values["systems"][name]["summary"]["overall"]["micro_f1"]["mean"] = mean
    values["systems"]["br"]["below"] = "logistic regression (micro-F1 .9 against .999)"
    values["test"]["weak"] = True
    write_json(bench / "benchmark.json", values)
    file = write_report(bench).file
    page = parsed(file)

    _, *rows = page.tables["All systems on the same samples"]
    assert rows[0][0] == "BR †"
    assert [row[0] for row in rows[-3:]] == list(values["baselines"])
    micro_f1 = 2 + COLUMNS.index("micro_f1")
    assert [row[micro_f1] for row in rows[-3:]] == [".123", ".123", ".999"]

    html = file.read_text(encoding="utf-8")
    verdict = html[html.index('class="verdict"') : html.index('class="tiles"')]
    assert "label frequencies .123 and logistic regression .999" in verdict
    assert "Below logistic regression (.999): 2 of 2" in verdict
    assert "Below label frequencies" not in verdict
    assert "TAILOR, with which the others are compared" in verdict
    assert html.count('class="mark solid"') == html.count('class="mark dashed"') == 3
    assert "label frequencies 0.123" in page.text
    assert "No bars" in page.text  # nothing is stored of these runs


def test_the_chart_has_the_intervals_of_the_stored_predictions(run: Path, tmp_path: Path) -> None:
    evaluation = read_evaluation(run, "test")
    predictions = read_predictions(run, "test")
    assert evaluation is not None and predictions is not None
    bench = tmp_path / "bench"
    folder = bench / "tailor" / "seed7"
    folder.mkdir(parents=True)
    write_results(folder, evaluation, predictions)

    values = stored_benchmark(tmp_path / "gone")
    metrics = evaluation.metrics["tuned"]
    tailor = values["systems"]["tailor"]
    tailor["summary"] = summarise_seeds([metrics]).model_dump(mode="json")
    tailor["runs"] = tailor["runs"][:1]
    tailor["runs"][0]["metrics"]["tuned"] = metrics.model_dump(mode="json")
    values["systems"] = {"tailor": tailor}
    found = StoredBenchmark.model_validate(values)
    chart = chart_of_systems(found, bench, None, {})
    assert chart is not None
    (dot,) = chart.dots
    stored = evaluation.intervals["micro_f1"]
    assert dot.value == pytest.approx(metrics.micro_f1)
    assert (dot.low, dot.high) == pytest.approx((stored.low, stored.high), abs=0.01)
    assert dot.points == []

    # predictions of another run are not taken
    tailor["runs"][0]["metrics"]["tuned"]["micro_f1"] += 0.05
    other = StoredBenchmark.model_validate(values)
    again = chart_of_systems(other, bench, None, {})
    assert again is not None
    assert again.dots[0].low == again.dots[0].high


def test_the_command_of_a_benchmark_plans_the_same(bench: Path, data: Path) -> None:
    found = read_benchmark(bench / "benchmark.json")
    command = benchmark_command(found, "o")
    assert command is not None
    root: Any = typer.main.get_command(app)
    params = (
        root.commands["benchmark"]
        .make_context("benchmark", shlex.split(command.replace("\\\n", ""))[2:])
        .params
    )
    plan = plan_benchmark(
        data, params["out_path"], models=params["models"].split(","), seeds=params["seeds"],
        seed=params["seed"], preset=params["preset"].value, settings=params["settings"],
    )  # fmt: skip
    assert params["settings"] == ["training.epochs=3"]
    for name in ("br", "tailor", "simm"):
        assert plan.runs[name, 7].config.to_json() == found.systems[name].config
    assert [seed for system, seed in plan.runs if system == "br"] == [7, 8]


def test_ablations_too(tmp_path: Path, data: Path) -> None:
    values = stored_benchmark(data, kind="ablation")
    values["systems"] = {"full": values["systems"].pop("tailor"), **values["systems"]}
    values["test"]["reference"] = "full"
    (tmp_path / "ablation.json").write_text(json.dumps(values))
    page = parsed(write_report(tmp_path).file)
    assert "Ablations on <small>" in page.texts
    assert "emotailor ablate" in page.text
    assert "--variants full,br" in page.text


def test_nothing_tested(bench: Path, data: Path) -> None:
    values = stored_benchmark(data)
    values["systems"] = {k: v for k, v in values["systems"].items() if k in ("simm", "sgm")}
    values["test"] = None
    (bench / "benchmark.json").write_text(json.dumps(values))
    page = parsed(write_report(bench).file)
    assert "0 of 2" in page.texts


def test_sections_for_a_page_of_several(bench: Path, tmp_path: Path) -> None:
    sections, missing = benchmark_sections(bench)
    assert len(missing) == 1
    file = Page("All", sections=[Section("one", sections), Section("two", sections)]).write(
        tmp_path / "all.html"
    )
    page = parsed(file)
    assert page.texts.count("Costs") == 2
    assert "h3" in {tag for tag, _ in page.tags}
    with pytest.raises(DataError, match="no benchmark at"):
        benchmark_sections(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "emotailor-benchmark", "data": {}}', "holds no results yet"),
        ("[]", "damaged"),
        ("{", "damaged"),
        ('{"format": "x", "systems": {}}', "format: "),
        ("[" * 100_000, "damaged"),
    ],
)
def test_damaged_benchmarks(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "benchmark.json").write_text(content)
    with pytest.raises(EmotailorError, match=message) as caught:
        write_report(tmp_path)
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "report.html").exists()


# ---------------------------------------------------------------------- the page


def test_markup() -> None:
    shown = element("p", "a<b", class_='"x"', aria_label="é").text
    assert shown == '<p class="&quot;x&quot;" aria-label="é">a&lt;b</p>'
    assert element("p", "\x00\u202e\ud800\ttab", None).text == "<p>\ufffd\ufffd\ufffd\ttab</p>"
    assert element("img", alt="'").text == '<img alt="&#x27;">'


def test_columns_of_numbers_are_set_to_the_right() -> None:
    page = Table(("a", "b", "c"), [("x", "1,234 (5.1%)", "v1"), ("y", "", "2")]).markup(2).text
    assert page.count('class="number"') == 3
    assert '<th scope="row" class="text">' in page


def test_figures_of_an_earlier_version_are_drawn_again(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their pictures have other scales, and no words on what is seen."""
    folder = FigureFolder(run / "figures")
    index = json.loads((folder.path / "index.json").read_text())
    index["version"] -= 1
    write_json(folder.path / "index.json", index)
    few = {"figure4-losses": figures.FIGURES["figure4-losses"]}
    monkeypatch.setattr(figures, "FIGURES", few)
    write_report(run, device="cpu")
    assert folder.read_index().drawn == ["figure4-losses"]


def test_a_figure_is_told_to_those_who_do_not_see_it(run: Path) -> None:
    page = parsed(run / "report.html")
    folder = FigureFolder(run / "figures")
    told = [str(a["alt"]) for tag, a in page.tags if tag == "img"]
    assert len(told) == len(folder.read_index().drawn)
    for name, alt in zip(folder.read_index().drawn, told, strict=True):
        assert folder.read_numbers(name)["summary"] in alt


def test_numbers_beside_charts_have_one_width() -> None:
    """Else the zero lines of a column would not stand below each other."""
    style = Path(report_figures.__file__).with_name("page.css").read_text(encoding="utf-8")
    assert re.search(r"\.beside \{[^}]*display: inline-block; min-width: [\d.]+em", style)
    chart = Range(-0.1, 0.0, 0.1, (-1.0, 1.0), zero=0.0)
    rows = [("a", Cell("+.012", chart=chart)), ("b", Cell("-.1", chart=chart))]
    page = Table(("system", "difference"), rows).markup(2).text
    assert page.count('class="beside"') == 2
    strip = Cell("", chart=Strip([1.0, 2.0], 1.0, "steps"))
    assert "beside" not in strip.markup().text


def test_a_dot_plot_has_every_number_inside_its_axis() -> None:
    dots = [
        Dot("<b>", 0.668, 0.631, 0.702, ".668", "[.631, .702]", points=(0.66, 0.676)),
        Dot("worse", 0.52, 0.52, 0.52, ".520"),
    ]
    plot = DotPlot("micro-F1", dots, {"label frequencies": 0.581, "<regression>": 0.675})
    assert plot.axis == (0.5, 0.8)
    page = plot.markup(2).text
    places = [float(x) for x in re.findall(r"left:([\d.]+)%", page)]
    assert all(0 <= place <= 100 for place in places)
    assert page.count('class="mark solid"') == page.count('class="mark dashed"') == 3
    assert page.count('class="point"') == 2
    for text in ("&lt;b&gt;", "&lt;regression&gt; 0.675", "label frequencies 0.581", "0.5", "0.8"):
        assert text in page
    (first, _) = re.findall(r'class="dot" style="left:([\d.]+)%', page)
    assert float(first) == pytest.approx(100 * (0.668 - 0.5) / 0.3, abs=0.1)


def test_charts_stay_inside() -> None:
    page = Range(-1.0, 0.5, 3.0, (0.0, 2.0), zero=0.0).markup().text
    assert re.findall(r"left:([\d.]+)%", page) == ["0.0", "0.0", "25.0"]
    assert "width:100.0%" in page
    strip = Strip([0.5, -1.0, 0.0, float(np.float64(0.001))], 1.0, "<t>").markup().text
    assert re.findall(r'class="(\w+)" x="(\d)".*?fill-opacity="([\d.]+)"', strip) == [
        ("for", "0", "0.50"), ("against", "1", "1.00"),
    ]  # fmt: skip
    assert "&lt;t&gt;" in strip
    long = Strip([1.0] * 61, 1.0, "").markup().text
    assert long.count("<rect") == 60
    assert Strip([], 0.0, "").markup().text.count("<rect") == 0


def test_words_have_the_colour_of_their_evidence() -> None:
    said = Spoken(["so", "<great>", "a", "day"], [0.5, -2.0, 0.0, 0.01], 1.0, "<t>")
    markup = said.markup(2).text
    colour = r'class="(for|against)" style="--strength:(\d+)%" title="([-+.\d]+)"'
    assert re.findall(colour, markup) == [
        ("for", "50", "+0.50"), ("against", "100", "-2.00"),
    ]  # fmt: skip
    assert re.sub("<[^>]*>", "", markup) == "so &lt;great&gt; a day "
    assert 'aria-label="&lt;t&gt;"' in markup
    assert "style" not in Spoken(["so"], [1.0], 0.0, "").markup(2).text


def test_a_mistake_names_the_words() -> None:
    why = Explanation(
        modalities={"x": {"text": 2.0, "audio": -1.0}},
        steps={"x": {"text": np.array([0.0, 3, 2, 0]), "audio": np.array([-1.0, 0, 0, 0])}},
        attention={},
        window={"text": 1, "audio": 1},
        words={"text": ["I", "am", "glad", "now"]},
    )
    told, said, table = _explained(why, "x", _LOOKS["false positive"])
    assert isinstance(told, Text) and told.text.endswith('text, there most of all "am glad".')
    assert isinstance(said, Spoken) and (said.values, said.scale) == ([0, 3, 2, 0], 3)
    assert isinstance(table, Table)

    # against the label speaks the sound, which has no words
    told, table = _explained(why, "x", _LOOKS["false negative"])
    assert isinstance(told, Text) and told.text.endswith("audio, there most of all step 1.")


def test_pictures() -> None:
    svg = b'<?xml version="1.0"?><svg width="72pt" height="36pt" viewBox="0 0 72 36"></svg>'
    assert size_of(svg) == (96, 48)
    assert size_of(b"nothing") == (0, 0)
    page = Image(svg, '"x"', "c<d").markup(2).text
    assert 'class="wide"' in page
    assert "data:image/svg+xml;base64," in page
    assert "c&lt;d" in page


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[list[str]]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium, which is not installed")
    yield [
        program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
    ]  # fmt: skip


def test_in_a_browser_on_a_phone(
    run: Path, bench: Path, hostile: Path, tmp_path: Path, browser: list[str]
) -> None:
    """No console message, and nothing wider than the screen, with everything unfolded."""
    write_report(bench)
    measure = """
        onload = () => {
            const page = document.querySelector("iframe").contentDocument;
            page.querySelectorAll("details").forEach(one => one.open = true);
            const root = page.documentElement;
            document.title = `${root.scrollWidth} of ${root.clientWidth}, ${page.title}`;
        };"""

    def look(page: str) -> tuple[str, int, int]:
        frame = f'<iframe style="width:390px;height:800px;border:0" srcdoc="{escape(page)}">'
        driver = tmp_path / "driver.html"  # a window itself is never as narrow as a phone
        driver.write_text(
            f"<!DOCTYPE html><meta charset=utf-8><body>{frame}</iframe><script>{measure}</script>"
        )
        seen = subprocess.run(
            [*browser, "--dump-dom", driver.as_uri()],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        ((wide, screen),) = re.findall(r"<title>(\d+) of (\d+), .* on .*</title>", seen.stdout)
        return seen.stderr, int(wide), int(screen)

    folders = (run, bench, hostile)
    pages = [(folder / "report.html").read_text(encoding="utf-8") for folder in folders]
    for page in pages:
        said, wide, screen = look(page)
        assert "CONSOLE" not in said, said
        assert wide <= screen
        assert 370 <= screen <= 390  # less a scroll bar
    bad = "<script>alert(1)</script><p style='width:50rem'>x</p></body>"
    said, wide, screen = look(pages[1].replace("</body>", bad))
    assert "CONSOLE" in said  # the page forbids scripts
    assert wide > screen


def test_no_model_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no trained model"):
        write_report(tmp_path / "empty")


def test_what_is_no_page_is_not_written_over(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    file.write_text("{}")
    with pytest.raises(ConfigError, match="exists and is no HTML page"):
        write_report(run, out=file, device="cpu")
    assert file.read_text() == "{}"
    with pytest.raises(ConfigError, match="is a folder"):
        write_report(run, out=tmp_path, device="cpu")
