"""The demo: from nothing to a trained, tested and explained model in about two minutes."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from emotailor.data.card import FOLDER, is_synthetic
from emotailor.data.inspect import inspect_dataset, render
from emotailor.data.sample import Sample
from emotailor.data.store import open_dataset, read_card
from emotailor.data.synthetic import SyntheticConfig, synthesize
from emotailor.errors import DataError
from emotailor.evaluation.baselines import baselines
from emotailor.evaluation.display import comparison_table, metrics_table
from emotailor.models.table import find_system
from emotailor.runs.evaluate import evaluate_run
from emotailor.runs.outputs import render_predictions
from emotailor.runs.train import PlannedRun, train_runs
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
    "dropout": 0.2,
    "input_dropout": 0.2,
    "initial_std": 0.1,  # the program's 0.02 suits a width of 256, not of 64
}
TRAINING = {
    "epochs": 12,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "average": 0.99,
    "select_by": "tuned",
    "seed": 1,
}

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
class _Plan:
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


def _plan(folder: Path, *, quick: bool) -> _Plan:
    if not quick:
        return _Plan(
            data=folder / "data",
            run=folder / "run",
            synthetic=SyntheticConfig(train=2400, valid=400),
            training=TRAINING,
        )

    # names of their own: both demos fit into one folder
    return _Plan(
        data=folder / "quick-data",
        run=folder / "quick-run",
        synthetic=SyntheticConfig(train=160, valid=60, test=60),
        training={**TRAINING, "epochs": 2},
    )


def run_demo(folder: Path, console: Console, *, quick: bool = False) -> None:
    """Make data, train, test beside baselines, explain; started again, it resumes.

    Args:
        folder: folder of the data set and the run.
        console: where to print.
        quick: a much smaller model and data set, for trying the command.
    """
    plan = _plan(folder, quick=quick)
    console.rule("1. Data with CMU-MOSEI's label statistics and a planted truth")
    demo_data(plan.data, plan.synthetic)
    dataset = open_dataset(plan.data)
    report = inspect_dataset(dataset)
    console.print(render(report))

    data = {"path": str(plan.data)}
    config = RunConfig.build({"data": data, "model": MODEL, "training": plan.training})
    title = find_system(config.system).title
    console.rule(f"2. Training a small {title}")
    train_runs([PlannedRun(config, plan.run)], console)

    console.rule("3. Test, beside trivial baselines")
    result = evaluate_run(plan.run)
    floor = baselines(dataset, "test", "tuned")
    systems = {name: found.metrics for name, found in floor.items()}
    systems[title] = result.metrics
    console.print(comparison_table(systems, title="Test split, thresholds tuned on validation"))
    console.print(metrics_table(result.metrics, result.intervals, title=title))

    console.rule("4. Three predictions, and the evidence for them")
    test = dataset["test"]
    count = min(3, len(test))
    samples = [test.sample(i) for i in range(count)]
    predictor = Predictor.load(plan.run)
    predictions = predictor.predict(samples, explain=True)
    console.print(render_predictions(predictions))
    for sample in samples:
        truth = _true_labels(sample, dataset.label_names)
        console.print(f"truth of {sample.id}: {truth}", highlight=False, markup=False)

    # commands to copy: not wrapped, not coloured
    console.rule("Done")
    console.print(_what_next(plan), highlight=False, soft_wrap=True, markup=False)


def _true_labels(sample: Sample, names: Sequence[str]) -> str:
    assert sample.labels is not None
    held = [name for name, holds in zip(names, sample.labels, strict=True) if holds]
    return ", ".join(held) or "none"


def _what_next(plan: _Plan) -> str:
    run = shlex.quote(str(plan.run))
    data = shlex.quote(str(plan.data))
    return (
        f"run folder: {plan.run}\n"
        f"  again:   emotailor evaluate {run}\n"
        f"  predict: emotailor predict {run} {data} --limit 3\n"
        f"  your own data: emotailor data convert --help"
    )
