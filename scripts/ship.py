"""The model that ships, made from the CSV: converted, trained, checked, calibrated, described.

    python scripts/ship.py mosei_text.csv --goemotions goemotions/ --meld test_sent_emo.csv

A training takes 24 minutes on one core. ``--run`` takes a finished run of the same recipe in its
place, and ``--data`` the data set that it was trained on; what is not given is made in ``--work``,
and what is there already is used again. The model is written to ``src/emotailor/shipped/words``
only if it misses no bar (``ShippedCard.missed``); else the exit code is 1.

The seed was fixed before anything was looked at. Every choice (thresholds, calibration) is made on
validation data.
"""

import argparse
import csv
import hashlib
import json
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from emotailor.data.dataset import EmotionDataset
from emotailor.data.mishearing import WRONG, heard_words, mishear
from emotailor.data.readers.convert import convert
from emotailor.data.store import open_dataset
from emotailor.encoders.words import words_of
from emotailor.evaluation.baselines import BaselineResult, baselines
from emotailor.evaluation.calibration import calibration
from emotailor.evaluation.comparison import Interval, bootstrap, paired_bootstrap
from emotailor.evaluation.linear import DIGITS
from emotailor.evaluation.metrics import decide, evaluate
from emotailor.evaluation.scaling import Scaling, ScalingMethod, cross_scaled
from emotailor.evaluation.thresholds import ThresholdMode, Thresholds
from emotailor.evaluation.words import SENTENCE, UNION
from emotailor.runs.texts import predict_texts
from emotailor.runs.train import plan_runs, train_runs
from emotailor.serving.predictor import Predictor
from emotailor.shipped.card import (
    COMPARED,
    MOST_NAMED,
    Beside,
    CalibrationNote,
    Damaged,
    LabelScores,
    OtherText,
    ShippedCard,
    ThresholdTrial,
    write_card,
)
from emotailor.shipped.find import WORDS, shipped_folder
from emotailor.training.model_folder import (
    ModelCard,
    Scaled,
    load_model,
    save_card,
    save_model,
)
from emotailor.training.stored_config import read_run_config

RECIPE = "examples/mosei_text_adapted.toml"
SEED = 42
LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")  # as the CSV calls them
MODES: tuple[ThresholdMode, ...] = ("fixed", "tuned", "per_label", "macro", "share")
METHODS: tuple[ScalingMethod, ...] = ("temperature", "platt")
MOST_WORDS = 60  # of a text
MORE_OFTEN = 1.25  # how many times as often as it holds a label may be named by default
LINEAR = {
    "logistic regression on sentence vectors": SENTENCE,
    "the same on sentence vectors and TF-IDF": UNION,
}
"""What the model must not be worse than -> its name among the baselines."""

Trials = Mapping[ThresholdMode, ThresholdTrial]
Texts = tuple[list[str], np.ndarray]  # n texts and their labels (n, L)

EKMAN = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprise",
}
"""Emotion of the other sources -> label."""

NOT_FOR = [
    "decisions about people: hiring, teaching, policing, credit, insurance, health, custody",
    "emotions at work and at school, which the European Union's AI Act forbids to infer there",
    "what a person feels: it says what listeners would name, of the words alone",
    "languages other than English; texts that are not somebody speaking to others",
    "single sentences that matter: of what it names, about half is right",
]
LICENCES = {
    "weights": "MIT, as emotailor",
    "training data": "CMU-MOSEI's transcripts and labels, published for research; no text of "
    "them is in the package",
    "text encoder": "all-MiniLM-L6-v2, Apache-2.0, not in the package: emotailor[text] brings it",
    "texts of the checks": "GoEmotions, Apache-2.0; MELD, GPL-3.0; neither is in the package",
}
READS = "the words alone, in English. Face and voice are no evidence: it has never seen any"


@dataclass(frozen=True)
class Judged:
    """What the model says of some samples, and what is true.

    Attributes:
        labels: (n, L).
        probabilities: (n, L).
        videos: (n,), what is drawn together in resamples.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    videos: np.ndarray


@dataclass(frozen=True)
class Chosen:
    """The model, and what validation data decided.

    Attributes:
        predictor: without scaling.
        card: with scaling, and thresholds for scaled probabilities.
        scaling: of its probabilities.
        trials: what each kind of thresholds does on validation data.
        errors: calibration error of each way of scaling, on validation data.
        work: folder of what is made.
    """

    predictor: Predictor
    card: ModelCard
    scaling: Scaling
    trials: Trials
    errors: dict[str, float]
    work: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the outputs."""
        return self.card.label_names

    def cuts(self, mode: ThresholdMode | None = None) -> np.ndarray:
        """Return thresholds for scaled probabilities, (L,); by default those that decide."""
        kind = mode or self.card.default_thresholds
        return self.card.thresholds[kind].array(self.names)

    def says(self, texts: Sequence[str], name: str) -> np.ndarray:
        """Return the scaled probabilities of texts, (n, L)."""
        found = of_texts(self.predictor, texts, name, self.work)
        return self.scaling.apply(found, self.names)


# ---------------------------------------------------------------------- data and training


def words_data(table: Path, work: Path) -> Path:
    """Convert the CSV, each word as a vector, unless that has been done; return the data set."""
    return _converted(table, work / "mosei-text", max_steps=MOST_WORDS)


def sentence_data(table: Path, work: Path) -> EmotionDataset:
    """Convert the CSV, each text as one vector, unless that has been done."""
    return open_dataset(_converted(table, work / "sentences", pooling="sentence"))


def _converted(table: Path, out: Path, **more: Any) -> Path:
    """Convert the CSV unless that has been done; return the data set."""
    if not out.exists():
        convert(table, out, text_column="text", encoder="minilm", label_names=LABELS, **more)
    return out


def recipe() -> list[tuple[str, str, Any]]:
    """Return table, name and value of each setting of the recipe, and the seed."""
    text = Path(RECIPE).read_text(encoding="utf-8")
    tables = tomllib.loads(text)["tailor"]

    found = [("training", "seed", SEED)]
    for room, values in tables.items():
        for name, value in values.items():
            found.append((room, name, value))
    return found


def trained(data: Path, work: Path) -> Path:
    """Train the recipe, or go on where that was stopped; return the run folder."""
    settings = []
    for room, name, value in recipe():
        settings.append(f"{room}.{name}={json.dumps(value)}")
    runs = plan_runs(data=data, out=work / "run", system="tailor", settings=settings)
    train_runs(runs, Console())
    return runs[0].folder


def check_run(run: Path, dataset: EmotionDataset) -> None:
    """Refuse a run that is not this recipe, with this seed, on these data."""
    stored = read_run_config(run)
    config = stored.config.to_json()
    for room, name, wanted in recipe():
        found = config[room][name]
        if found != wanted:
            raise SystemExit(f"{run} has {room}.{name} = {found}, the recipe has {wanted}")

    if stored.fingerprint != dataset.card.fingerprint:
        raise SystemExit(f"{run} was trained on other data than {dataset.card.name}")


# ---------------------------------------------------------------------- other sources


def goemotions(folder: Path) -> Texts:
    """Return the texts of GoEmotions' test split, and which of the six emotions they have."""
    names = (folder / "ekman_labels.txt").read_text(encoding="utf-8").split()
    texts = []
    emotions = []
    with (folder / "ekman_test.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        for text, numbers, _ in rows:
            texts.append(text)
            own = {names[int(number)] for number in numbers.split(",")}
            emotions.append(own)
    return texts, _as_labels(emotions)


def meld(file: Path) -> Texts:
    """Return the utterances of MELD's test split, and which of the six emotions they have."""
    texts = []
    emotions = []
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            texts.append(row["Utterance"])
            emotions.append({row["Emotion"]})
    return texts, _as_labels(emotions)


def _as_labels(emotions: Sequence[set[str]]) -> np.ndarray:
    """Return (n, 6), the labels in the alphabet's order, as the model has them."""
    rows = [[emotion in found for emotion in EKMAN] for found in emotions]
    return np.array(rows, np.uint8)


# ---------------------------------------------------------------------- predictions


def kept(work: Path, name: str, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return an array that was computed before, or compute it and keep it.

    Args:
        work: folder of what is kept.
        name: of the array.
        key: everything that it depends on.
        compute: computes it.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()
    file = work / f"{name}-{digest[:12]}.npy"
    if not file.exists():
        computed = compute()
        np.save(file, computed)
    found: np.ndarray = np.load(file)
    return found


def of_split(predictor: Predictor, dataset: EmotionDataset, split: str, work: Path) -> Judged:
    """Predict a split of the model's data."""
    labelled = dataset.with_labels()
    part = labelled[split]

    # the model has an order of its own
    order = [dataset.label_names.index(name) for name in predictor.label_names]
    labels = part.labels[:, order]

    key = f"{_weights(predictor)} {dataset.card.fingerprint}"
    probabilities = kept(work, split, key, lambda: predictor.predict_proba(part))
    videos = np.array(labelled.videos(split))
    return Judged(labels, probabilities, videos)


def of_texts(predictor: Predictor, texts: Sequence[str], name: str, work: Path) -> np.ndarray:
    """Predict texts, (n, L); of a long one its first words, as in the data of the training."""
    cut = []
    for text in texts:
        words = words_of(text)[:MOST_WORDS]
        cut.append(" ".join(words))

    def compute() -> np.ndarray:
        found = predict_texts(predictor, cut)
        rows = [list(one.probabilities.values()) for one in found]
        return np.array(rows, np.float32)

    key = "\n".join([_weights(predictor), *cut])
    return kept(work, name, key, compute)


def _weights(predictor: Predictor) -> str:
    """Return the hash of the weights; predictions are kept as they are without scaling."""
    assert predictor.card.weights is not None
    assert predictor.scaling is None
    return predictor.card.weights.sha256


# ---------------------------------------------------------------------- what is chosen


def tried_thresholds(
    valid: Judged, names: Sequence[str]
) -> tuple[dict[ThresholdMode, Thresholds], Trials]:
    """Choose every kind of thresholds on validation data, and say what each does there."""
    chosen = {}
    trials: dict[ThresholdMode, ThresholdTrial] = {}
    for mode in MODES:
        chosen[mode] = Thresholds.choose(mode, valid.labels, valid.probabilities, names)
        cuts = chosen[mode].array(names)
        found = evaluate(valid.labels, valid.probabilities, names, cuts)
        named = decide(valid.probabilities, cuts).mean(0).tolist()
        trials[mode] = ThresholdTrial(
            micro_f1=found.micro_f1,
            macro_f1=found.macro_f1,
            hamming_loss=found.hamming_loss,
            named=dict(zip(names, named, strict=True)),
        )
    return chosen, trials


def default_mode(trials: Trials, held: Mapping[str, float]) -> ThresholdMode:
    """Return the kind with the highest micro-F1 that names each label about as often as it holds.

    About: at most a quarter more often, and at least half as often.

    Args:
        trials: of each kind, on validation data.
        held: label -> share of the validation samples that have it.
    """
    fair: dict[ThresholdMode, float] = {}
    for mode, trial in trials.items():
        often = [trial.named[name] / share for name, share in held.items()]
        too_often = max(often) > MORE_OFTEN
        too_rarely = min(often) < 1 / MOST_NAMED
        if not too_often and not too_rarely:
            fair[mode] = trial.micro_f1
    return max(fair, key=lambda mode: fair[mode])


def best_scaling(valid: Judged, names: Sequence[str]) -> tuple[Scaling, dict[str, float]]:
    """Choose how probabilities are scaled, by the calibration error on videos not fitted on."""
    truth = valid.labels
    said = valid.probabilities
    errors = {"none": error_of(truth, said, names)}
    for method in METHODS:
        scaled = cross_scaled(method, truth, said, names, groups=valid.videos)
        errors[method] = error_of(truth, scaled, names)

    best = min(METHODS, key=lambda method: errors[method])
    return Scaling.fit(best, truth, said, names), errors


def error_of(labels: np.ndarray, said: np.ndarray, names: Sequence[str]) -> float:
    """Return the expected calibration error."""
    return calibration(labels, said, names).expected_calibration_error


def chosen_model(run: Path, dataset: EmotionDataset, work: Path) -> Chosen:
    """Write the model folder, with everything that validation data decide."""
    loaded = load_model(run)
    card = loaded.card.model_copy(update={"scaled": None, "device": None})
    folder = work / WORDS

    # rounded first: everything is chosen and measured on what ships
    card = save_model(folder, card, loaded.model, loaded.standardizer, half=True)
    predictor = Predictor.load(folder)
    names = predictor.label_names

    valid = of_split(predictor, dataset, "valid", work)
    thresholds, trials = tried_thresholds(valid, names)
    shares = valid.labels.mean(0).tolist()
    mode = default_mode(trials, dict(zip(names, shares, strict=True)))
    scaling, errors = best_scaling(valid, names)

    card = scaled_card(card, thresholds, scaling, mode, dataset)
    save_card(folder, card)
    return Chosen(predictor, card, scaling, trials, errors, work)


# ---------------------------------------------------------------------- what is measured


def label_scores(test: Judged, names: Sequence[str], cuts: np.ndarray) -> dict[str, LabelScores]:
    """Return the scores of each label with intervals."""
    found = evaluate(test.labels, test.probabilities, names, cuts)
    scores = {}
    for j, name in enumerate(names):
        label = found.labels[name]
        ends = _ranking(test.labels[:, [j]], test.probabilities[:, [j]], test.videos)
        scores[name] = LabelScores(
            held=label.support / found.samples,
            named=label.predicted / found.samples,
            precision=label.precision,
            recall=label.recall,
            average_precision=ends["mean_average_precision"],
            roc_auc=ends["mean_roc_auc"],
        )
    return scores


def _ranking(
    labels: np.ndarray, said: np.ndarray, groups: np.ndarray | None
) -> dict[str, Interval]:
    """Return intervals of mAP and mean AUC."""
    ends = bootstrap(labels, said, 0.5, groups=groups)
    return {name: ends[name] for name in ("mean_average_precision", "mean_roc_auc")}


def beside(
    name: str, other: BaselineResult, test: Judged, cuts: Thresholds, names: Sequence[str]
) -> Beside:
    """Compare the model with a baseline on the same samples, thresholds of both chosen alike."""
    differences = paired_bootstrap(
        test.labels,
        test.probabilities,
        other.probabilities,
        thresholds_a=cuts.array(names),
        thresholds_b=other.thresholds,
        groups=test.videos,
    )
    overall = other.metrics.overall()
    return Beside(
        name=name,
        thresholds=cuts.mode,
        scores={metric: _number(overall[metric]) for metric in COMPARED},
        differences={metric: differences[metric] for metric in COMPARED},
    )


def _number(value: float | None) -> float:
    assert value is not None
    return round(value, DIGITS)


def damaged(name: str, said: np.ndarray, test: Judged, cuts: np.ndarray) -> Damaged:
    """Compare what the model says of wrong words with what it says of the right ones."""
    ends = bootstrap(test.labels, said, cuts, groups=test.videos)
    differences = paired_bootstrap(
        test.labels,
        said,
        test.probabilities,
        thresholds_a=cuts,
        thresholds_b=cuts,
        groups=test.videos,
    )
    return Damaged(
        name=name,
        scores={metric: ends[metric] for metric in COMPARED},
        differences={metric: differences[metric] for metric in COMPARED},
    )


def other_text(
    name: str, kind: str, labels: np.ndarray, said: np.ndarray, names: Sequence[str]
) -> OtherText:
    """Judge the model on texts of another source; each text is drawn by itself."""
    areas = {}
    for j, label in enumerate(names):
        areas[label] = _ranking(labels[:, [j]], said[:, [j]], None)["mean_roc_auc"]
    return OtherText(
        name=name,
        kind=kind,
        samples=len(labels),
        scores=_ranking(labels, said, None),
        frequencies=float(labels.mean(0).mean()),
        roc_auc=areas,
    )


def wrong_words(dataset: EmotionDataset) -> list[str]:
    """Return the texts of the test split with wrong words, drawn from those of the training."""
    train = dataset["train"]
    said: list[str] = []
    for index in range(len(train)):
        said += words_of(train.text(index))

    draw = np.random.default_rng(SEED)
    test = dataset.with_labels()["test"]
    texts = []
    for index in range(len(test)):
        words = words_of(test.text(index))
        heard = mishear(words, draw, said)
        texts.append(" ".join(heard_words(heard)))
    return texts


def beside_linear(
    chosen: Chosen, test: Judged, dataset: EmotionDataset, linear: EmotionDataset
) -> list[Beside]:
    """Compare the model with the linear models, by two kinds of thresholds.

    Args:
        chosen: the model.
        test: what it says of the test split.
        dataset: its data.
        linear: the same samples with one vector for each text.
    """
    if linear.with_labels()["test"].ids != dataset.with_labels()["test"].ids:
        raise SystemExit("the sentence vectors are of other samples")

    found = []
    kinds: tuple[ThresholdMode, ...] = ("tuned", chosen.card.default_thresholds)
    for kind in kinds:
        cuts = chosen.card.thresholds[kind]
        there = baselines(linear, "test", kind, label_names=chosen.names, folder=chosen.work)
        for title, name in LINEAR.items():
            found.append(beside(title, there[name], test, cuts, chosen.names))
    return found


def elsewhere(chosen: Chosen, sources: Mapping[tuple[str, str], Texts]) -> list[OtherText]:
    """Judge the model on other sources, which have a name and a kind of texts."""
    found = []
    for (name, kind), (texts, labels) in sources.items():
        key = name.partition(",")[0].lower()
        said = chosen.says(texts, key)
        found.append(other_text(name, kind, labels, said, chosen.names))
    return found


# ---------------------------------------------------------------------- the whole


def make(args: argparse.Namespace) -> ShippedCard:
    """Make the model folder and its card in the work folder."""
    work: Path = args.work
    work.mkdir(parents=True, exist_ok=True)
    data = args.data or words_data(args.table, work)
    dataset = open_dataset(data)
    run = args.run or trained(data, work)
    check_run(run, dataset)

    chosen = chosen_model(run, dataset, work)
    raw = of_split(chosen.predictor, dataset, "test", work)
    said = chosen.scaling.apply(raw.probabilities, chosen.names)
    test = Judged(raw.labels, said, raw.videos)

    linear = sentence_data(args.table, work)
    compared = beside_linear(chosen, test, dataset, linear)
    wrong = chosen.says(wrong_words(dataset), "wrong")
    lost = damaged(f"{100 * WRONG:g} % of the words wrong", wrong, test, chosen.cuts("tuned"))
    sources = {
        ("GoEmotions, test", "comments on Reddit"): goemotions(args.goemotions),
        ("MELD, test", "lines of a television series"): meld(args.meld),
    }

    noted = CalibrationNote(
        method=chosen.scaling.method,
        tried=chosen.errors,
        test_before=error_of(raw.labels, raw.probabilities, chosen.names),
        test_after=error_of(test.labels, said, chosen.names),
    )
    weights = chosen.card.weights
    assert weights is not None
    file = work / WORDS / weights.file
    return ShippedCard(
        name=WORDS,
        reads=READS,
        system=chosen.card.system,
        recipe=RECIPE,
        command=command_of(sys.argv[1:]),
        seed=SEED,
        data={"name": dataset.card.name, "fingerprint": dataset.card.fingerprint},
        samples={split: len(part) for split, part in dataset.splits.items()},
        weights_sha256=weights.sha256,
        weights_bytes=file.stat().st_size,
        thresholds=chosen.card.default_thresholds,
        thresholds_tried=dict(chosen.trials),
        scores=bootstrap(test.labels, said, chosen.cuts(), groups=test.videos),
        labels=label_scores(test, chosen.names, chosen.cuts()),
        calibration=noted,
        beside=compared,
        damaged=[lost],
        other_texts=elsewhere(chosen, sources),
        not_for=NOT_FOR,
        licences=LICENCES,
    )


def command_of(arguments: Sequence[str]) -> str:
    """Return the command that was given; of paths their last names."""
    names = [Path(argument).name for argument in arguments]
    return shlex.join(["python", "scripts/ship.py", *names])


def scaled_card(
    card: ModelCard,
    chosen: dict[ThresholdMode, Thresholds],
    scaling: Scaling,
    mode: ThresholdMode,
    dataset: EmotionDataset,
) -> ModelCard:
    """Return the card of the model with its scaling, and thresholds for scaled probabilities."""
    source = {
        "name": dataset.card.name,
        "fingerprint": dataset.card.fingerprint,
        "split": "valid",
        "samples": len(dataset["valid"]),
    }
    moved = {kind: scaling.of_thresholds(old) for kind, old in chosen.items()}
    record = Scaled(scaling=scaling, thresholds=chosen, data=source)
    return card.model_copy(update={"thresholds": moved, "scaled": record, "decides": mode})


def main() -> int:
    """Make the model, and put it where the package has it if it misses no bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="CMU-MOSEI's transcripts as a CSV")
    parser.add_argument("--goemotions", type=Path, required=True, help="folder of its files")
    parser.add_argument("--meld", type=Path, required=True, help="its test_sent_emo.csv")
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of what is made")
    parser.add_argument("--data", type=Path, help="data set made by an earlier call")
    parser.add_argument("--run", type=Path, help="finished run of the recipe")
    args = parser.parse_args()

    card = make(args)
    folder = args.work / WORDS
    write_card(folder, card)
    missed = card.missed()
    for line in missed:
        print(f"missed: {line}")
    if missed:
        print(f"not shipped; it lies in {folder}")
        return 1

    target = shipped_folder(WORDS)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    print(f"{target}: {card.weights_bytes / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
