"""The demo: from nothing to a trained, tested and explained model in about two minutes."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from emotailor.data.batching import batches
from emotailor.data.card import FOLDER, is_synthetic
from emotailor.data.dataset import EmotionDataset
from emotailor.data.inspect import inspect_dataset, render
from emotailor.data.store import open_dataset, read_card
from emotailor.data.synthetic import SyntheticConfig, synthesize
from emotailor.errors import DataError
from emotailor.evaluation.display import comparison_table, metrics_table
from emotailor.evaluation.metrics import Metrics, evaluate
from emotailor.evaluation.thresholds import Thresholds
from emotailor.models.baseline import LabelFrequency
from emotailor.models.classic.config import BinaryRelevanceConfig
from emotailor.models.classic.model import BinaryRelevance
from emotailor.runs.evaluate import evaluate_run
from emotailor.runs.predict import render_predictions
from emotailor.runs.train import PlannedRun, train_runs
from emotailor.serving.predictor import Predictor
from emotailor.training.inference import predict_probabilities
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
STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2)  # of the regression, the best of them on validation


DRAWN = replace(FOLDER, name="synthetic data set", recognises=is_synthetic)

Scores = tuple[np.ndarray, np.ndarray]  # of the validation and of the test split


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


def regression_scores(dataset: EmotionDataset, strength: float) -> Scores:
    """Probabilities of binary relevance on the validation and on the test split."""
    dims, aligned = dataset.dims, dataset.aligned
    model = BinaryRelevance(BinaryRelevanceConfig(C=strength), dims, len(dataset.label_names))
    model.fit(batches(dataset["train"], dims, batch_size=64, aligned=aligned))
    valid, test = (
        predict_probabilities(model, dataset[name], dims, aligned=aligned, standardizer=None)
        for name in ("valid", "test")
    )
    return valid, test


def baselines(data: Path, names: tuple[str, ...]) -> dict[str, Metrics]:
    """Test metrics of the trivial systems; strength and threshold chosen on validation."""
    dataset = open_dataset(data)
    valid, test = dataset["valid"], dataset["test"]
    frequency = LabelFrequency().fit(dataset["train"], names)
    systems: dict[str, list[Scores]] = {
        "label frequencies": [(frequency.predict_proba(valid), frequency.predict_proba(test))],
        "logistic regression": [regression_scores(dataset, strength) for strength in STRENGTHS],
    }
    found = {}
    for name, candidates in systems.items():
        best = -1.0
        for on_valid, on_test in candidates:
            chosen = Thresholds.choose("tuned", valid.labels, on_valid, names).array(names)
            reached = evaluate(valid.labels, on_valid, names, chosen).micro_f1
            if reached > best:
                best = reached
                found[name] = evaluate(test.labels, on_test, names, chosen)
    return found


def run_demo(folder: Path, console: Console, *, quick: bool = False) -> None:
    """Make data, train, test beside baselines, explain; start it again and it goes on.

    Args:
        folder: of the data set and the run.
        console: where to print.
        quick: a much smaller model and data set, for trying the command.
    """
    start = "quick-" if quick else ""  # both demos fit into one folder
    data, run = folder / f"{start}data", folder / f"{start}run"
    config = (
        SyntheticConfig(train=160, valid=60, test=60)
        if quick
        else SyntheticConfig(train=2400, valid=400)
    )
    console.rule("1. Data with CMU-MOSEI's label statistics and a planted truth")
    demo_data(data, config)
    dataset = open_dataset(data)
    console.print(render(inspect_dataset(dataset)))
    console.rule("2. Training a small TAILOR")
    training = {**TRAINING, "epochs": 2} if quick else TRAINING
    settings = {"data": {"path": str(data)}, "model": MODEL, "training": training}
    train_runs([PlannedRun(RunConfig.build(settings), run)], console)
    console.rule("3. Test, beside trivial baselines")
    result = evaluate_run(run)
    systems = {**baselines(data, dataset.label_names), "TAILOR": result.metrics}
    console.print(comparison_table(systems, title="Test split, thresholds tuned on validation"))
    console.print(metrics_table(result.metrics, result.intervals, title="TAILOR"))
    console.rule("4. Three predictions, and the evidence for them")
    test = dataset["test"]
    samples = [test.sample(i) for i in range(min(3, len(test)))]
    predictions = Predictor.load(run).predict(samples, explain=True)
    console.print(render_predictions(predictions))
    names = dataset.label_names
    for sample in samples:
        assert sample.labels is not None
        truth = [name for name, held in zip(names, sample.labels, strict=True) if held]
        console.print(
            f"truth of {sample.id}: {', '.join(truth) or 'none'}", highlight=False, markup=False
        )
    console.rule("Done")
    shown = shlex.quote(str(run))
    console.print(
        f"run folder: {run}\n"
        f"  again:   emotailor evaluate {shown}\n"
        f"  predict: emotailor predict {shown} {shlex.quote(str(data))} --limit 3\n"
        f"  your own data: emotailor data convert --help",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
