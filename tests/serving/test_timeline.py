"""Timelines of recordings made by hand: who spoke when, what is shown, and what was evidence."""

import json
from pathlib import Path

import numpy as np
import pytest

from emotailor.data.sample import Modality, Sample
from emotailor.errors import DataError
from emotailor.extraction.base import Medium, Recording, Timed, Utterance, Word
from emotailor.serving.curves import MOST_POINTS, curves_of, mean_between, share_of_voice
from emotailor.serving.prediction import Explanation, Failure, Prediction
from emotailor.serving.predictor import Predictor
from emotailor.serving.timeline import Moment, Timeline, clock
from emotailor.serving.video import timeline_of
from tests.evaluation.fake_pandas import DataFrame, with_fake_pandas
from tests.helpers import DIMS, LABELS
from tests.serving.test_predictor import model_of, summing

TEXT: dict[Modality, int] = {"text": DIMS["text"]}
NOBODY = "no words"


def utterance(text: str, start: float, step: float = 0.5) -> Utterance:
    words = []
    for place, word in enumerate(text.split()):
        began = start + step * place
        words.append(Word(word, began, began + step, 0.875))
    return Utterance(tuple(words), start, start + step * max(len(words), 1))


def face(duration: float, *, without: tuple[float, float] = (0.0, 0.0)) -> Timed:
    """Ten rows a second, with the second of the video as smile; none in a part of it."""
    starts = np.arange(0, duration, 0.1)
    kept = (starts < without[0] - 1e-9) | (starts >= without[1] - 1e-9)
    starts = starts[kept]
    second = np.floor(starts + 1e-9)
    columns = [second / 8, second / 8, np.full(len(starts), 0.25), second - 2]
    names = ("mouthSmileLeft", "mouthSmileRight", "jawOpen", "yaw")
    intervals = np.stack([starts, starts + 0.1], 1)
    return Timed(names, np.stack(columns, 1).astype(np.float32), intervals, ("A face, mostly.",))


def voice(duration: float) -> Timed:
    """Fifty rows a second; a voice in every other second, with a pitch of 100 Hz."""
    starts = np.arange(round(duration * 50)) / 50
    speaking = np.floor(starts + 1e-9) % 2 == 0
    columns = [np.where(speaking, -20.0, -60.0), np.where(speaking, 100.0, 0.0), speaking]
    intervals = np.stack([starts, starts + 0.02], 1)
    values = np.stack(columns, 1).astype(np.float32)
    return Timed(("energy", "f0", "voiced"), values, intervals)


def recording(
    *utterances: Utterance,
    duration: float = 7.0,
    seen: Timed | None = None,
    heard: Timed | None = None,
    path: str = "clips/one.mp4",
    notes: tuple[str, ...] = (),
) -> Recording:
    picture = None if seen is None else (640, 360)
    medium = Medium(Path(path), duration, picture, sound=heard is not None)
    return Recording(medium, duration, utterances, seen, heard, notes)


def samples_of(said: Recording, seed: int = 3) -> list[Sample]:
    rng = np.random.default_rng(seed)
    found = []
    for number, one in enumerate(said.utterances):
        words = [word.text for word in one.words]
        vectors = rng.normal(size=(len(words), DIMS["text"])).astype(np.float32)
        sequences = {"text": vectors} if words else {}
        found.append(Sample(f"one[{number}]", sequences, words=words or None))  # type: ignore[arg-type]
    return found


def made(
    label_probability: dict[str, float], *words: str, start: float = 0.0, drops: object = None
) -> Moment:
    """An utterance with probabilities that were not computed, and labels that hold above 0.5."""
    said = utterance(" ".join(words), start)
    why = None
    if drops is not None:
        steps = {label: {"text": np.array(drops, np.float64)} for label in label_probability}
        modalities = {label: {"text": 1.0} for label in label_probability}
        why = Explanation(modalities, steps, {}, {"text": 1}, {"text": list(words)})  # type: ignore[arg-type]
    found = Prediction(
        f"one[{start:.0f}]",
        label_probability,
        {label: p > 0.5 for label, p in label_probability.items()},
        why,
        dict.fromkeys(label_probability, 0.5),
    )
    return Moment(said.start, said.end, said.words, found, 0.5, 1.0, 0.25, -20.0)


def always() -> Predictor:
    """A model whose labels hold for whatever it can see."""
    predictor = summing(TEXT)
    predictor.thresholds = np.zeros(3)
    return predictor


# ---------------------------------------------------------------------- predictions


def test_every_utterance_has_its_prediction_and_words_their_evidence() -> None:
    said = recording(
        utterance("what a lovely day it is", 0.5), utterance("", 4.0), utterance("no", 6.0)
    )
    samples = samples_of(said)
    predictor = always()
    found = timeline_of(predictor, said, samples)
    assert [(m.start, m.end, m.text) for m in found.moments] == [
        (0.5, 3.5, "what a lovely day it is"),
        (4.0, 4.5, ""),
        (6.0, 6.5, "no"),
    ]

    expected = predictor.predict(samples[0], explain=True)
    first = found.moments[0]
    assert first.prediction is not None
    assert first.prediction.probabilities == expected.probabilities
    assert first.labels == expected.labels
    assert set(first.labels) == set(LABELS)
    evidence = model_of(predictor).evidence(samples[0])["text"]  # (steps, L)
    for k, label in enumerate(LABELS):
        found_evidence = first.evidence(label)
        assert found_evidence is not None
        np.testing.assert_allclose(found_evidence, evidence[:, k], atol=1e-5)

    silent = found.moments[1].outcome
    assert isinstance(silent, Failure)
    assert silent.error.found == NOBODY
    assert found.predicted == 2
    assert found.held == dict.fromkeys(LABELS, 2)


def test_evidence_is_measured_where_a_label_holds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said = recording(*[utterance("a word or two", 2.0 * i) for i in range(3)])
    predictor = summing(TEXT)
    probabilities = predictor.predict_proba(samples_of(said))
    order = np.sort(probabilities.max(1))
    predictor.thresholds = np.full(3, (order[0] + order[1]) / 2)  # one utterance is below

    explained = []
    explain = Predictor.explain

    def counted(self: Predictor, sample: Sample, **options: object) -> Explanation:
        explained.append(sample.id)
        return explain(self, sample, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "explain", counted)
    found = timeline_of(predictor, said, samples_of(said))
    holding = [m.outcome.id for m in found.moments if m.labels]
    assert explained == holding
    assert len(holding) == 2

    explained.clear()
    timeline_of(predictor, said, samples_of(said), explain=False)
    assert explained == []


def test_as_many_samples_as_utterances() -> None:
    said = recording(utterance("a word", 0.0), utterance("another", 2.0))
    with pytest.raises(DataError) as error:
        timeline_of(summing(TEXT), said, samples_of(said)[:1])
    assert error.value.found.startswith("1 samples")


# ---------------------------------------------------------------------- what is shown


def test_face_and_voice_are_shown_and_said_to_be_no_evidence() -> None:
    # from 1.0 to 3.0 s: no face in the second half, a voice in the second half
    said = recording(
        utterance("one two three four", 1.0),
        seen=face(7.0, without=(2.0, 4.0)),
        heard=voice(7.0),
        notes=("No second track.",),
    )
    found = timeline_of(summing(TEXT), said, samples_of(said))
    moment = found.moments[0]
    assert (moment.face, moment.voice) == (0.5, 0.5)
    assert (moment.smile, moment.energy) == (0.125, -40.0)
    assert found.evidence == ("text",)
    assert found.notes[:2] == ("No second track.", "A face, mostly.")
    assert "face and voice are shown, but no evidence" in found.notes[2]


def test_what_is_evidence_is_not_called_shown_alone() -> None:
    said = recording(utterance("one two", 1.0), seen=face(7.0), heard=voice(7.0))
    (sample,) = samples_of(said)
    rng = np.random.default_rng(0)
    visual = rng.normal(size=(2, DIMS["visual"])).astype(np.float32)
    both = Sample(sample.id, {**sample.sequences, "visual": visual}, words=sample.words)
    predictor = summing({"visual": DIMS["visual"], "text": DIMS["text"]})
    predictor.thresholds = np.zeros(3)
    found = timeline_of(predictor, said, [both])
    assert found.evidence == ("visual", "text")
    shown = [note for note in found.notes if "no evidence" in note]
    assert len(shown) == 1
    assert "voice is shown" in shown[0]
    # the steps of pictures are nobody's words: they are not looked at
    why = found.moments[0].prediction.explanation  # type: ignore[union-attr]
    assert why is not None
    assert set(why.steps[LABELS[0]]) == {"text"}
    assert set(why.modalities[LABELS[0]]) == {"visual", "text"}


def test_a_model_says_what_it_did_without() -> None:
    said = recording(utterance("one two", 1.0))
    found = timeline_of(summing({"visual": 3, "text": DIMS["text"]}), said, samples_of(said))
    assert found.evidence == ("text",)
    assert any("No utterance has face" in note for note in found.notes)
    assert found.moments[0].face is None
    assert found.moments[0].voice is None
    assert found.curves == ()
    assert not found.picture


def test_what_openSMILE_hears_is_shown_too() -> None:
    starts = np.arange(200) / 50
    voiced = starts < 1.0
    columns = [np.full(200, 0.5), np.where(voiced, 24.0, 0.0)]
    heard = Timed(
        ("Loudness_sma3", "F0semitoneFrom27.5Hz_sma3nz"),
        np.stack(columns, 1).astype(np.float32),
        np.stack([starts, starts + 0.02], 1),
    )
    said = recording(duration=4.0, heard=heard)
    curves = {curve.name: curve for curve in curves_of(said)}
    assert list(curves) == ["loudness", "pitch above 27.5 Hz"]
    assert curves["loudness"].values == (0.5,) * 40
    assert curves["pitch above 27.5 Hz"].values == (24.0,) * 10 + (None,) * 30
    assert share_of_voice(said, 0.0, 2.0) == pytest.approx(0.5)


def test_curves_are_means_on_an_even_grid_with_gaps() -> None:
    said = recording(duration=7.0, seen=face(7.0, without=(2.0, 4.0)), heard=voice(7.0))
    curves = {curve.name: curve for curve in curves_of(said)}
    assert list(curves) == ["smile", "jaw open", "head turned", "energy", "pitch"]
    smile = curves["smile"]
    assert (smile.step, len(smile.values)) == (0.1, 70)
    assert smile.values[:10] == (0.0,) * 10
    assert smile.values[10:20] == (0.125,) * 10
    assert smile.values[20:40] == (None,) * 20
    assert smile.values[69] == 0.75
    # where there is no pitch there is none: not 0 Hz
    assert curves["pitch"].values[:20] == (100.0,) * 10 + (None,) * 10
    assert curves["energy"].values[:20] == (-20.0,) * 10 + (-60.0,) * 10
    assert mean_between(said, "pitch", 0.5, 1.5) == 100.0
    assert mean_between(said, "smile", 2.0, 4.0) is None


def test_curves_of_a_long_video_have_a_bounded_number_of_points() -> None:
    said = recording(duration=300.0, seen=face(300.0), heard=voice(300.0))
    curves = curves_of(said)
    assert {len(curve.values) for curve in curves} == {MOST_POINTS}
    energy = next(curve for curve in curves if curve.name == "energy")
    assert energy.step == 0.5
    assert energy.values[:4] == (-20.0, -20.0, -60.0, -60.0)


# ---------------------------------------------------------------------- reasons in words


def test_because_names_the_words_that_spoke() -> None:
    moment = made({"happy": 0.8, "sad": 0.2}, "oh", "so", "great", "then", drops=[0, 0.6, 0.9, 0.1])
    assert moment.because("happy") == "“so great”"
    assert made({"happy": 0.8}, "oh", "well", drops=[0.0, 0.004]).because("happy") == "the words"
    assert made({"happy": 0.8}, "oh", "well").because("happy") == ""


def test_because_names_other_modalities_by_their_strength() -> None:
    why = Explanation(
        {"happy": {"visual": 0.5, "audio": -1.0, "text": 0.3}},
        {"happy": {"text": np.array([0.1, 0.3])}},
        {},
        {"text": 1},
        {"text": ["oh", "great"]},
    )
    said = utterance("oh great", 0.0)
    found = Prediction("x", {"happy": 0.9}, {"happy": True}, why, {"happy": 0.5})
    moment = Moment(0.0, 1.0, said.words, found)
    assert moment.because("happy") == "the face, “great”"
    assert why.describe("happy") == "visual"
    assert why.strongest("happy") == ("text", 1, 1)


def test_words_that_were_cut_off_have_no_evidence() -> None:
    moment = made({"happy": 0.8}, "a", "b", "c", drops=[0.5, 0.25])
    evidence = moment.evidence("happy")
    assert evidence is not None
    assert evidence.tolist() == [0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0:00"),
        (9.99, "0:09"),
        (75.0, "1:15"),
        (3599.9, "59:59"),
        (3661.0, "1:01:01"),
        (-1.0, "0:00"),
    ],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


# ---------------------------------------------------------------------- forms


def whole() -> Timeline:
    said = recording(
        utterance("what a lovely day", 0.5),
        utterance("", 3.0),
        utterance("no", 6.0),
        seen=face(7.0, without=(2.0, 4.0)),
        heard=voice(7.0),
    )
    return timeline_of(always(), said, samples_of(said))


def test_json_goes_round() -> None:
    found = whole()
    text = json.dumps(found.to_json(), allow_nan=False)
    again = Timeline.from_json(json.loads(text))
    assert again.to_json() == found.to_json()
    value = json.loads(text)
    assert (value["format"], value["schema_version"]) == ("emotailor-timeline", 1)
    assert value["moments"][0]["words"][2] == {
        "text": "lovely", "start": 1.5, "end": 2.0, "probability": 0.875,
    }  # fmt: skip
    assert value["moments"][1]["failure"]["error"].startswith(NOBODY)
    assert set(value["moments"][0]["because"]) == set(found.moments[0].labels)


def test_a_timeline_of_a_later_version_is_refused() -> None:
    value = whole().to_json()
    with pytest.raises(DataError) as error:
        Timeline.from_json({**value, "schema_version": 2})
    assert "version 2" in error.value.found


def test_representations_name_times_and_emotions() -> None:
    found = whole()
    lines = repr(found).splitlines()
    label = found.moments[0].labels[0]
    p = found.moments[0].prediction.probabilities[label]  # type: ignore[union-attr]
    assert lines[1].startswith(f"  0:00  {label} {p:.2f}")
    assert lines[2].startswith("  0:03  not predicted: no words")
    shown = found._repr_html_()
    assert shown.count("<tr>") == 4
    assert f"<td>{label} {p:.2f}" in shown


def test_a_data_frame_has_a_row_per_utterance(monkeypatch: pytest.MonkeyPatch) -> None:
    with_fake_pandas(monkeypatch)
    frame = whole().to_dataframe()
    assert isinstance(frame, DataFrame)
    assert frame.index == "id"
    assert [row["text"] for row in frame.rows] == ["what a lovely day", "", "no"]
    assert [row["start"] for row in frame.rows] == [0.5, 3.0, 6.0]
    assert "p:happy" in frame.rows[0]
    assert "p:happy" not in frame.rows[1]
