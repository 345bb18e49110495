"""Tables hold the numbers they are given and fit 100 columns."""

import io

import numpy as np
import pytest
from rich.console import Console, RenderableType

from emotailor.evaluation.comparison import bootstrap, paired_bootstrap, summarise_seeds
from emotailor.evaluation.display import (
    Published,
    comparison_table,
    label_table,
    metrics_table,
    number,
    seeds_table,
)
from emotailor.evaluation.metrics import evaluate

NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise")


PAPER = Published(
    "paper [a]", {"accuracy": 0.4884, "micro_f1": 0.569}, "Its P and R may be exchanged."
)


def shown(renderable: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=400)
    needed = console.measure(renderable).maximum if hasattr(renderable, "columns") else None
    assert needed is None or needed <= width
    out = io.StringIO()
    Console(file=out, width=width).print(renderable)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text  # nothing is cut off
    return text


def row(text: str, start: str) -> list[str]:
    """Return the cells of the row whose first cell is ``start``."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if cells[0] == start:
            return cells[1:]
    raise AssertionError(f"no row {start!r} in\n{text}")


@pytest.fixture
def system() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    scores = rng.random((1009, 6))
    labels = (rng.random((1009, 6)) < scores**2).astype(int)
    return labels, scores


def test_metrics_table(system: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = system
    m = evaluate(labels, scores, NAMES, 0.5)
    intervals = bootstrap(labels, scores, 0.5, resamples=20)
    text = shown(metrics_table(m, intervals, published=PAPER))
    assert "1,009 samples" in text
    assert "95 % interval" in text
    f1 = intervals["micro_f1"]
    assert row(text, "micro-F1") == [f"{m.micro_f1:.3f}", f"[{f1.low:.3f}, {f1.high:.3f}]", "0.569"]
    assert "[a]" in text  # a title is no markup
    assert row(text, "LRAP") == [f"{m.label_ranking_average_precision:.3f}", "", ""]
    assert row(text, "P")[2] == ""
    assert "may be exchanged" in " ".join(text.split())
    plain = shown(metrics_table(m))
    assert row(plain, "Acc") == [f"{m.accuracy:.3f}"]
    assert "paper" not in plain.lower()


def test_undefined_metrics_are_said() -> None:
    labels = np.zeros((3, 6), int)
    labels[0, 0] = 1
    m = evaluate(labels, np.full((3, 6), 0.2), NAMES, 0.35)
    text = shown(metrics_table(m))
    joined = " ".join(text.split())
    assert "mAP leaves out disgust, fear, happy, sad, surprise: no positives" in joined
    assert row(shown(label_table(m)), "sad") == [
        "0.350", "0", "0", "0.000", "0.000", "0.000", "n/a", "n/a",
    ]  # fmt: skip


def test_label_table(system: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = system
    m = evaluate(labels, scores, NAMES, np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    text = shown(label_table(m))
    fear = m.labels["fear"]
    assert row(text, "fear") == [
        "0.300", f"{fear.support:,}", f"{fear.predicted:,}", f"{fear.precision:.3f}",
        f"{fear.recall:.3f}", f"{fear.f1:.3f}", f"{fear.average_precision:.3f}",
        f"{fear.roc_auc:.3f}",
    ]  # fmt: skip


def test_names_are_not_markup() -> None:
    m = evaluate(np.array([[1]]), np.array([[0.9]]), ["[red]x[/blue]"], 0.5)
    assert "[red]x[/blue]" in shown(label_table(m, title="[/b]"))
    assert "[bold]" in shown(comparison_table({"[bold]": m}))


def test_seeds_table(system: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = system
    runs = [evaluate(labels, scores, NAMES, t) for t in (0.4, 0.5, 0.6)]
    several, one = summarise_seeds(runs), summarise_seeds(runs[:1])
    systems = {"TAILOR without adversary": several, "BR": one}
    text = shown(seeds_table(systems, published=PAPER))
    assert row(text, "BR")[:2] == ["1", f"{runs[0].accuracy:.3f}"]
    f1 = several.overall["micro_f1"]
    assert row(text, "TAILOR without adversary")[4] == f"{f1.mean:.3f}±{f1.std:.3f}"
    assert row(text, "paper [a]") == ["", "0.488", "", "", "0.569", ""]
    assert "may be exchanged" in text


def test_comparison_table(system: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = system
    worse = np.random.default_rng(1).random(scores.shape)
    systems = {
        "TAILOR": evaluate(labels, scores, NAMES, 0.5),
        "frequencies": evaluate(labels, worse, NAMES, 0.5),
    }
    difference = paired_bootstrap(
        labels, scores, worse, thresholds_a=0.5, thresholds_b=0.5, resamples=30
    )
    table = comparison_table(systems, {"frequencies": difference}, published=PAPER)
    text = shown(table)
    f1 = difference["micro_f1"]
    assert row(text, "frequencies")[-2:] == [
        f"{f1.value:+.3f} [{f1.low:+.3f}, {f1.high:+.3f}]", f"{f1.p_value:.4f}",
    ]  # fmt: skip
    assert row(text, "TAILOR")[0] == f"{systems['TAILOR'].accuracy:.3f}"
    assert row(text, "TAILOR")[-2:] == ["", ""]
    assert row(text, "paper [a]")[:4] == ["0.488", "", "", "0.569"]
    nothing = shown(comparison_table(systems, {"frequencies": {}}))  # of a single video
    assert "difference" not in nothing
    assert len(row(nothing, "TAILOR")) == 6
    lines = Console(width=100).render_lines(comparison_table(systems))
    bold = {part.text.strip() for line in lines for part in line if part.style and part.style.bold}
    assert f"{systems['TAILOR'].micro_f1:.3f}" in bold
    assert f"{systems['frequencies'].micro_f1:.3f}" not in bold


def test_numbers() -> None:
    assert number(None) == "n/a"
    assert number(0.56949) == "0.569"
