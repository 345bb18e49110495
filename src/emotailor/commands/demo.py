"""The demo: from nothing to a trained, tested and explained model, and a page about it.

Whoever reads what it prints may know nothing of the field: every term is explained where it comes
first, and every number stands beside what it should be compared with.
"""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotailor.data.card import FOLDER, is_synthetic
from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import EMOTIONS, MODALITIES, Modality
from emotailor.data.store import open_dataset, read_card
from emotailor.data.synthetic import (
    CARRIERS,
    PlantedTruth,
    SyntheticConfig,
    load_truth,
    synthesize,
)
from emotailor.errors import DataError
from emotailor.evaluation.metrics import Metrics
from emotailor.evaluation.notebook import format_number
from emotailor.models.table import find_system
from emotailor.report.write import write_report
from emotailor.runs.evaluate import RunEvaluation, evaluate_run
from emotailor.runs.train import PlannedRun, train_runs
from emotailor.serving.prediction import MIN_EVIDENCE, Explanation, Prediction
from emotailor.serving.predictor import Predictor
from emotailor.training.run_config import RunConfig

MODEL = {
    "hidden_size": 64,
    "feedforward_size": 128,
    "heads": 4,
    "visual_layers": 1,
    "audio_layers": 1,
    "text_layers": 1,
    "cross_layers": 1,
    "dropout": 0.0,  # of so many clear samples none is learned by heart, and drawing costs a fifth
    "refinement_dropout": 0.0,
    "initial_std": 0.1,  # the program's 0.02 suits a width of 256, not of 64
}
TRAINING = {
    "epochs": 10,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "average": 0.99,
    "select_by": "tuned",
    "seed": 1,
}

TITLE = find_system("tailor").title
"""What the demo trains."""

SENSES: Mapping[Modality, str] = {"visual": "face", "audio": "voice", "text": "text"}
"""What a modality stands for, in a word."""

DRAW = 0  # seed of the examples that are shown
RIGHT_SHOWN = 2
WRONG_SHOWN = 1
EXPLAINED = 24  # samples on which the evidence is checked: a few seconds

DRAWN = replace(FOLDER, name="synthetic data set", recognises=is_synthetic)


def demo_data(folder: Path, config: SyntheticConfig) -> None:
    """Make the demo's data set, unless it is there from an earlier start."""
    try:
        made_with = read_card(folder).drawn_with
    except DataError:
        made_with = None
    if made_with == config.to_json():
        return

    DRAWN.check_new(folder, overwrite=True)
    synthesize(config, folder, overwrite=folder.exists())


@dataclass(frozen=True)
class Plan:
    """What a demo draws and trains, and where.

    Attributes:
        data: folder of the data set.
        run: run folder.
        synthetic: settings of the data.
        training: settings of the training.
    """

    data: Path
    run: Path
    synthetic: SyntheticConfig
    training: Mapping[str, Any]


def plan_demo(folder: Path, *, quick: bool = False) -> Plan:
    """Return what a demo does in a folder; both kinds fit into one."""
    # signs of one word in twenty, and clear ones
    moments = SyntheticConfig(train=2400, valid=300, test=400, window=0.05, noise=0.2)
    if not quick:
        return Plan(folder / "data", folder / "run", moments, TRAINING)

    return Plan(
        data=folder / "quick-data",
        run=folder / "quick-run",
        synthetic=moments.replace(train=96, valid=40, test=40),
        training={**TRAINING, "epochs": 2},
    )


def run_demo(folder: Path, console: Console, *, quick: bool = False) -> None:
    """Make data, train, test beside baselines, explain, write a page; started again, it resumes.

    Args:
        folder: folder of the data set and the run.
        console: where to print.
        quick: a much smaller data set and training, for trying the command.
    """
    plan = plan_demo(folder, quick=quick)
    say = _Speaker(console)
    say.text(
        "Which emotions does a person show, when several show at once? emotailor answers from "
        "face, voice and text together. This demo makes data, trains a model called TAILOR on "
        "them, tests it, shows three answers with their reasons, and writes a page about it: "
        "under three minutes on two idle cores. Ctrl-C stops it; the same command resumes."
    )

    console.rule("1 of 4: the data")
    demo_data(plan.data, plan.synthetic)
    show_data(plan, console)

    config = RunConfig.build(
        {"data": {"path": str(plan.data)}, "model": MODEL, "training": plan.training}
    )
    console.rule(f"2 of 4: training a small {TITLE}")
    epochs = plan.training["epochs"]
    say.text(
        f"It sees all training segments {epochs} times. After each time (an epoch) it is tried on "
        "the validation segments, and the best one is kept."
    )
    train_runs([PlannedRun(config, plan.run)], console)

    console.rule("3 of 4: the test")
    demo = Demo(plan)
    show_test(demo, console)

    console.rule("4 of 4: three answers, and the reasons for them")
    show_answers(demo, console)

    console.rule("Done")
    say.text("Writing a page about it: some seconds more.")
    report = write_report(plan.run)
    for line in report.missing:
        say.text(f"not on the page: {line}")
    show_next(plan, report.file, console)


class _Speaker:
    """Prints sentences, wrapped at words and without colours."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def text(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)
        self.console.print()

    def lines(self, *lines: str) -> None:
        """Print lines to copy: not wrapped."""
        for line in lines:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class Demo:
    """What a trained demo found, each thing computed when it is first asked for.

    Args:
        plan: what was drawn and trained.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @cached_property
    def dataset(self) -> EmotionDataset:
        """The data set."""
        return open_dataset(self.plan.data)

    @cached_property
    def truth(self) -> PlantedTruth:
        """Where the signs were planted."""
        return load_truth(self.plan.data)

    @cached_property
    def result(self) -> RunEvaluation:
        """The test."""
        return evaluate_run(self.plan.run)

    @cached_property
    def right(self) -> Bool[np.ndarray, "n"]:
        """Which test samples have exactly their true labels named."""
        same = self.result.decisions == self.result.labels.astype(bool)
        return same.all(1)

    @cached_property
    def predictor(self) -> Predictor:
        """The model, to ask for reasons."""
        return Predictor.load(self.plan.run)

    def explain(self, rows: Sequence[int]) -> list[Prediction]:
        """Predict test samples, with reasons."""
        test = self.dataset["test"]
        samples = [test.sample(row) for row in rows]
        return self.predictor.predict(samples, explain=True)

    def planted(self, row: int, label: str) -> tuple[int, int]:
        """Return where in a test sample a label shows itself: first step, one past the last."""
        column = EMOTIONS.index(label)
        carrier = MODALITIES.index(CARRIERS[label][0])
        begin, end = self.truth.windows["test"][row, column, carrier]
        return int(begin), int(end)


def _table(*titles: str, left: Sequence[str] = ()) -> Table:
    """Return a table whose numbers stand right, and the columns named stand left."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in titles:
        table.add_column(title, justify="left" if title in left else "right", no_wrap=True)
    return table


def show_data(plan: Plan, console: Console) -> None:
    """Say what the data are, how often each emotion is in them, and where it shows."""
    say = _Speaker(console)
    sizes = plan.synthetic
    say.text(
        "No people are in these data: they are drawn by a program, so that the right answers are "
        "known. A sample is a segment of speech, 1 to 60 words long. For every word there are "
        f"{sizes.visual_dim} numbers for the face, {sizes.audio_dim} for the voice and "
        f"{sizes.text_dim} for what is said. The emotions are as frequent, alone and together, as "
        "in CMU-MOSEI, a collection of videos that research compares systems on. Each shows itself "
        f"for a moment only, about {sizes.window:.0%} of the segment, in the places of this table. "
        "The model must find out where, and when."
    )

    train = open_dataset(plan.data)["train"]
    shares = train.labels.mean(0)
    table = _table(
        "emotion", "in training segments", "shows itself in", left=("emotion", "shows itself in")
    )
    for label, share in zip(EMOTIONS, shares, strict=True):
        places = [SENSES[m] for m in CARRIERS[label]]
        table.add_row(label, f"{share:.0%}", " and ".join(places))
    console.print(table)
    say.text(
        f"{sizes.train:,} segments to train on, {sizes.valid:,} to choose settings with "
        f"(validation), and {sizes.test:,} to test on."
    )


def show_test(demo: Demo, console: Console) -> None:
    """Print the test beside baselines, and say how to read it."""
    say = _Speaker(console)
    metrics = demo.result.metrics
    say.text(
        f"{metrics.samples:,} segments that it has never seen, beside three simple methods on the "
        "same segments:"
    )

    others = {name: found.metrics for name, found in demo.result.baselines.items()}
    table = _table("method", "micro-F1", "mAP", left=("method",))
    for name, one in others.items():
        table.add_row(*_scores(_METHODS[name], one))
    ours = [Text(cell, style="bold") for cell in _scores(TITLE, metrics)]
    table.add_row(*ours)
    console.print(table)

    say.text(
        "micro-F1: how well the named emotions are the true ones; 1 is perfect, and one named too "
        "many costs as much as one forgotten. mAP: how well each emotion's segments are ranked "
        "before the others by its probability, whatever is named in the end; 1 is perfect."
    )
    say.text(_verdict(TITLE, metrics, others))
    for finding in demo.result.findings:
        say.text(f"note: {finding}")


_METHODS = {
    "all labels": "name all six, always",
    "label frequencies": "go by how frequent each emotion is",
    "logistic regression": "logistic regression on mean and spread",
}
"""What a baseline does, in a few words."""


def _scores(name: str, metrics: Metrics) -> tuple[str, str, str]:
    f1 = format_number(metrics.micro_f1)
    precision = format_number(metrics.mean_average_precision)
    return name, f1, precision


def _verdict(title: str, metrics: Metrics, others: Mapping[str, Metrics]) -> str:
    """Say whether the system is ahead of the best baseline by both metrics, and why."""
    best_f1 = max(one.micro_f1 or 0.0 for one in others.values())
    best_precision = max(one.mean_average_precision or 0.0 for one in others.values())
    by_f1 = (metrics.micro_f1 or 0.0) - best_f1
    by_precision = (metrics.mean_average_precision or 0.0) - best_precision

    if by_f1 <= 0 or by_precision <= 0:
        return (
            f"{title} is not ahead of all of them here: micro-F1 {by_f1:+.3f} and mAP "
            f"{by_precision:+.3f} against the best."
        )
    return (
        f"{title} is ahead of the best of them, by {by_f1:.3f} micro-F1 and {by_precision:.3f} "
        "mAP. The regression sees only mean and spread over the segment, where a moment is almost "
        f"lost; {title} looks at every word. The data were made for that: on others it need not "
        "lead, so emotailor shows these methods beside every result."
    )


# ---------------------------------------------------------------------- answers


def choose_examples(right: Bool[np.ndarray, "n"], some: Bool[np.ndarray, "n"]) -> list[int]:
    """Draw two samples that are right and one that is not, as far as there are any.

    Args:
        right: which samples have exactly their true labels named.
        some: which samples have a true label.
    """
    rng = np.random.default_rng(DRAW)
    of_right = rng.permutation(np.flatnonzero(right & some))
    of_wrong = rng.permutation(np.flatnonzero(~right & some))
    chosen = [of_right[:RIGHT_SHOWN], of_wrong[:WRONG_SHOWN]]
    return [int(row) for row in np.concatenate(chosen)]


def show_answers(demo: Demo, console: Console) -> None:
    """Print three answers beside the truth, and how often the reasons are where they belong."""
    say = _Speaker(console)
    right = demo.right
    (threshold,) = {round(label.threshold, 3) for label in demo.result.metrics.labels.values()}
    counts = demo.result.labels.sum(1)
    rows = choose_examples(right, counts > 0)
    say.text(
        f"{TITLE} names exactly the true emotions in {right.sum()} of {len(right)} test "
        f"segments ({right.mean():.0%}). Drawn at random among those with an emotion: two that it "
        "gets right and one that it does not. An emotion is named where its probability p is above "
        f"{threshold:.3f}, which was best on the validation segments."
    )
    for row, prediction in zip(rows, demo.explain(rows), strict=True):
        _show_answer(demo, row, prediction, console)

    say.text(
        "found: where the model looked, that is, what it misses most when it is hidden. planted: "
        "where the data show the emotion. Words are counted from 1."
    )
    say.text(_places(demo))


def _show_answer(demo: Demo, row: int, prediction: Prediction, console: Console) -> None:
    labels = demo.result.labels[row].astype(bool)
    true = [name for name, holds in zip(demo.result.metrics.labels, labels, strict=True) if holds]
    verdict = "right" if demo.right[row] else "wrong"
    console.print(Text.assemble((f"{prediction.id}: {verdict}", "bold")))

    left = ("emotion", "named", "true", "found", "planted")
    table = _table("emotion", "p", "named", "true", "found", "planted", left=left)
    ranked = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
    for name, p in ranked:
        named = prediction.decisions[name]
        held = name in true
        found = ""
        if named and prediction.explanation is not None:
            found = _found(prediction.explanation, name)

        planted = _planted(demo, row, name) if held else ""
        table.add_row(name, f"{p:.3f}", _yes(named), _yes(held), found, planted)
    console.print(table)


def _yes(holds: bool) -> str:
    return "yes" if holds else ""


def _found(explanation: Explanation, label: str) -> str:
    """Return where the evidence for a label was found, such as ``voice, words 3-4``."""
    modality, first, last = explanation.strongest(label)
    if explanation.modalities[label][modality] < MIN_EVIDENCE:
        return "nowhere"
    return f"{SENSES[modality]}, {_words(first, last)}"


def _planted(demo: Demo, row: int, label: str) -> str:
    """Return where a label shows itself in a test sample, such as ``face and voice, word 3``."""
    begin, end = demo.planted(row, label)
    places = " and ".join(SENSES[m] for m in CARRIERS[label])
    return f"{places}, {_words(begin, end - 1)}"


def _words(first: int, last: int) -> str:
    if first == last:
        return f"word {first + 1}"
    return f"words {first + 1}-{last + 1}"


def _places(demo: Demo) -> str:
    """Say how often the evidence for rightly named labels was found where it was planted."""
    checked = right_place = right_moment = 0
    rows = range(min(EXPLAINED, len(demo.right)))
    for row, prediction in zip(rows, demo.explain(rows), strict=True):
        explanation = prediction.explanation
        assert explanation is not None
        labels = zip(demo.result.metrics.labels, demo.result.labels[row], strict=True)
        for name, holds in labels:
            if not (holds and prediction.decisions[name]):
                continue

            modality, first, last = explanation.strongest(name)
            begin, end = demo.planted(row, name)
            in_place = modality in CARRIERS[name]
            overlaps = first < end and last >= begin
            checked += 1
            right_place += in_place
            right_moment += in_place and overlaps

    return (
        f"In the first {len(rows)} test segments, {checked} true emotions are named. For "
        f"{right_place} of them the evidence is found in a place where it was planted, for "
        f"{right_moment} also at the planted moment."
    )


# ---------------------------------------------------------------------- what next


def program() -> str:
    """Return how this command line can be called again from the same terminal."""
    if shutil.which("emotailor") is not None:
        return "emotailor"

    # as it was called: make calls it by its path
    called = Path(sys.argv[0])
    if called.stem == "emotailor":
        return shlex.quote(str(called))
    return f"{shlex.quote(sys.executable)} -m emotailor"


def show_next(plan: Plan, page: Path, console: Console) -> None:
    """Name the page, and commands to go on with, which work as they stand."""
    say = _Speaker(console)
    call = program()
    run = shlex.quote(str(plan.run))
    data = shlex.quote(str(plan.data))
    say.lines(
        "The page, with figures, mistakes and all numbers, to open in a browser:",
        f"  {page.resolve().as_uri()}",
        "",
        "Go on with this model:",
        f"  {call} predict {run} {data} --limit 5",
        f"  {call} evaluate {run}",
        f"  {call} figures {run}",
        "",
        "With your own data (FILE: a table of ids and labels, an .npz, CMU-MOSEI files):",
        f"  {call} data convert FILE --out data/mine",
        f"  {call} train --data data/mine --out runs/mine",
        f"  {call} report runs/mine",
    )
