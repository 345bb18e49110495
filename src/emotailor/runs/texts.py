"""Predicting from what is said: the encoder that made a model's features of text makes more."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotailor.data.cutting import MaxSteps
from emotailor.data.sample import TRANSCRIPT, UNSPLIT, Sample
from emotailor.encoders.base import TextEncoder
from emotailor.encoders.encode import check_texts
from emotailor.encoders.samples import SampleEncoder
from emotailor.errors import DataError
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.runs.sources import Source
from emotailor.serving.encoder import encoder_of
from emotailor.serving.prediction import Failure, Predictions
from emotailor.serving.predictor import Predictor


def predict_texts(
    model: str | Path | Predictor,
    texts: Sequence[str],
    *,
    encoder: str | Path | TextEncoder | None = None,
    explain: bool = False,
    thresholds: ThresholdMode | None = None,
    device: str = "auto",
    max_steps: MaxSteps | None = None,
) -> Predictions:
    """Name the emotions of texts.

    Args:
        model: a run folder, a model folder, ``words``, which ships, or a predictor that is loaded
            already.
        texts: what is said, one text a sample.
        encoder: as for :func:`emotailor.encode_texts`; by default the one whose features the model
            was trained on, where that has a name.
        explain: whether to measure the evidence for each emotion.
        thresholds: the thresholds for decisions; by default those tuned on validation data.
        device: the device to compute on.
        max_steps: read no more than the first words of a text, this many.

    Returns:
        A prediction for each text, in their order.

    Raises:
        ModelError: there is no model, it takes no text, or was trained on features of another
            encoder; or a text has more words than it can take.
        ConfigError: nobody says which encoder it was, or a package is not installed.
        DataError: a text has no words.
    """
    predictor = model
    if not isinstance(predictor, Predictor):
        predictor = Predictor.load(predictor, device=device, thresholds=thresholds)
    source = text_source(texts, predictor, encoder)
    found = Predictions()
    for outcome in predictor.stream(source.items, explain=explain, max_steps=max_steps):
        if isinstance(outcome, Failure):
            raise outcome.error
        found.append(outcome)
    return found


def text_source(
    texts: Sequence[str], predictor: Predictor, encoder: str | Path | TextEncoder | None = None
) -> Source:
    """Return texts as samples with the features that a model takes.

    Args:
        texts: what is said, one text a sample.
        predictor: the model.
        encoder: as for :func:`predict_texts`.

    Raises:
        ModelError: the model takes no text, or was trained on features of another encoder.
        ConfigError: nobody says which encoder it was, or a package is not installed.
        DataError: there is something else than text.
    """
    check_texts(texts)
    chosen = encoder_of(predictor, encoder)
    samples = []
    for number, text in enumerate(texts, 1):
        name = "text" if len(texts) == 1 else f"text{number}"
        samples.append((UNSPLIT, Sample(name, {}, about={TRANSCRIPT: text})))

    encoding = SampleEncoder(chosen, aligned=predictor.card.aligned)
    items = (_unless_empty(sample) for _, sample in encoding.samples(samples))
    return Source(items, len(samples), _notes(predictor))


def _unless_empty(sample: Sample) -> Sample | Failure:
    """Return a sample, or why there is nothing to predict."""
    steps = len(sample.sequences.get("text", ()))
    lacking = int(np.count_nonzero(sample.missing.get("text", ())))
    if steps > lacking:
        return sample

    text = sample.about.get(TRANSCRIPT, "")[:60]
    error = DataError(f"{sample.id} {text!r} has no word with a vector", expected="words")
    return Failure(sample.id, error)


def _notes(predictor: Predictor) -> list[str]:
    """Say what the model takes beside text."""
    others = [m for m in predictor.modalities if m != "text"]
    if not others:
        return []
    return [f"the model takes {' and '.join(others)}, too, which these samples lack"]
