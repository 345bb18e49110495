"""The card of the model that ships: it agrees with the model and with itself, and misses no bar."""

from pathlib import Path

import numpy as np
import pytest

from emotailor.data.mishearing import heard_words, mishear
from emotailor.encoders.words import words_of
from emotailor.errors import ModelError
from emotailor.evaluation.comparison import Interval
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.files import sha256_of
from emotailor.shipped import card as card_module
from emotailor.shipped.card import (
    LabelScores,
    OtherText,
    ShippedCard,
    ThresholdTrial,
    read_card,
    write_card,
)
from emotailor.shipped.find import shipped_folder
from emotailor.training.model_folder import read_model_card
from scripts.ship import default_mode, meld
from tests.runs.runs import run_cli


@pytest.fixture(scope="module")
def card() -> ShippedCard:
    return read_card()


def test_it_is_of_the_model_beside_it(card: ShippedCard) -> None:
    model = read_model_card(shipped_folder())
    assert model.weights is not None
    file = shipped_folder() / model.weights.file
    assert card.weights_sha256 == model.weights.sha256 == sha256_of(file)
    assert card.weights_bytes == file.stat().st_size
    assert card.thresholds == model.decides == "share"
    assert card.data == {"name": model.data["name"], "fingerprint": model.fingerprint}
    assert set(card.labels) == set(model.label_names)
    assert card.samples == {"train": 16322, "valid": 1871, "test": 4659}
    assert model.scaled is not None
    assert card.calibration.method == model.scaled.scaling.method


def test_its_numbers_agree_with_each_other(card: ShippedCard) -> None:
    labels = list(card.labels.values())
    named = sum(label.named for label in labels)
    held = sum(label.held for label in labels)
    hits = sum(label.named * label.precision for label in labels)
    assert card.scores["micro_precision"].value == pytest.approx(hits / named)
    assert card.scores["micro_recall"].value == pytest.approx(hits / held)
    assert card.scores["micro_f1"].value == pytest.approx(2 * hits / (named + held))
    for metric, of_label in (
        ("mean_average_precision", [label.average_precision.value for label in labels]),
        ("mean_roc_auc", [label.roc_auc.value for label in labels]),
    ):
        assert card.scores[metric].value == pytest.approx(np.mean(of_label))

    # level with the regression means: both sides of a difference are on the card
    for other in card.beside:
        if other.thresholds != card.thresholds:
            continue
        for metric, value in other.scores.items():
            gained = card.scores[metric].value - value
            assert other.differences[metric].value == pytest.approx(gained, abs=1e-6)


def test_it_misses_no_bar(card: ShippedCard) -> None:
    assert card.missed() == []
    assert len(card.other_texts) == 2
    assert card.damaged
    assert {other.thresholds for other in card.beside} == {"tuned", "share"}


def changed(card: ShippedCard, label: str, **changes: object) -> ShippedCard:
    """The card with other scores of one label."""
    scores: LabelScores = card.labels[label].model_copy(update=changes)
    return card.model_copy(update={"labels": {**card.labels, label: scores}})


def test_every_bar_can_be_missed(card: ShippedCard) -> None:
    low = Interval(value=0.52, low=0.49, high=0.55, level=0.95)
    assert len(changed(card, "fear", roc_auc=low).missed()) == 1
    for named in (0.96, 0.01):
        assert len(changed(card, "happy", named=named).missed()) == 1

    beside = card.beside[0]
    lower = beside.differences["mean_roc_auc"].model_copy(update={"value": -0.001})
    worse = beside.model_copy(update={"differences": {**beside.differences, "mean_roc_auc": lower}})
    (line,) = card.model_copy(update={"beside": [worse]}).missed()
    assert "mean_roc_auc is 0.001 below" in line

    damaged = card.damaged[0]
    lost = damaged.differences["micro_f1"].model_copy(update={"value": -0.031})
    broken = damaged.model_copy(update={"differences": {**damaged.differences, "micro_f1": lost}})
    assert len(card.model_copy(update={"damaged": [broken]}).missed()) == 1

    other: OtherText = card.other_texts[0].model_copy(update={"frequencies": 0.9})
    assert len(card.model_copy(update={"other_texts": [other]}).missed()) == 1


def test_a_damaged_card_is_one_message(
    card: ShippedCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_card(tmp_path, card)
    monkeypatch.setattr(card_module, "shipped_folder", lambda _: tmp_path)
    assert read_card() == card
    file = tmp_path / "card.json"
    file.write_text(file.read_text().replace('"seed": 42', '"seed": 43'))
    with pytest.raises(ModelError, match="content_sha256 differs"):
        read_card()


def test_the_command_shows_it(card: ShippedCard) -> None:
    done = run_cli("models", "show", "words", width=120)
    assert (done.code, done.err) == (0, "")
    for name, label in card.labels.items():
        rows = [line for line in done.out.splitlines() if line.strip().startswith(f"{name} ")]
        # the table comes first
        assert f"{label.roc_auc.value:.3f}" in rows[0]
    assert card.not_for[0] in done.out


# ---------------------------------------------------------------------- what makes it


def test_words_are_misheard_as_on_the_day_of_the_card() -> None:
    words = words_of("We had a good time there and nobody was angry with us at all")
    heard = mishear(words, np.random.default_rng(42), ["x", "y", "z"], 0.5)
    assert " ".join(heard_words(heard)) == "We had a good time and y nobody was angry z x at all"


def test_the_kind_of_thresholds_follows_one_rule(card: ShippedCard) -> None:
    trial = card.thresholds_tried["share"]
    held = dict(trial.named)
    often = trial.model_copy(update={"named": {**held, "happy": held["happy"] * 1.3}})
    rarely = trial.model_copy(update={"named": {**held, "fear": held["fear"] * 0.4}})
    better = {"micro_f1": trial.micro_f1 + 0.1}
    tried: dict[ThresholdMode, ThresholdTrial] = {
        "tuned": often.model_copy(update=better),
        "fixed": rarely.model_copy(update=better),
        "macro": trial.model_copy(update={"micro_f1": trial.micro_f1 - 0.1}),
        "share": trial,
    }
    assert default_mode(tried, held) == "share"
    assert default_mode(card.thresholds_tried, held) == card.thresholds


def test_other_sources_have_the_labels_in_the_order_of_the_model(
    card: ShippedCard, tmp_path: Path
) -> None:
    file = tmp_path / "meld.csv"
    file.write_text("Utterance,Emotion\nOh no,sadness\nGreat,joy\nTen,neutral\n", encoding="utf-8")
    texts, labels = meld(file)
    assert texts == ["Oh no", "Great", "Ten"]
    names = list(read_model_card(shipped_folder()).label_names)
    found = [[name for name, held in zip(names, row, strict=True) if held] for row in labels]
    assert found == [["sad"], ["happy"], []]
