"""From what was extracted of a video to its timeline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emotailor.data.cutting import MaxSteps
from emotailor.data.extraction import Extraction, check_extraction
from emotailor.data.sample import UNSPLIT, Modality, Sample
from emotailor.encoders.base import TextEncoder
from emotailor.encoders.samples import SampleEncoder
from emotailor.errors import DataError, ModelError
from emotailor.extraction.base import Recording, Timed, Utterance
from emotailor.extraction.samples import samples_of, stretches_of
from emotailor.serving.curves import curves_of, mean_between, share_of_face, share_of_voice
from emotailor.serving.encoder import encoder_of
from emotailor.serving.prediction import Failure, Prediction
from emotailor.serving.samples import SamplePredictor
from emotailor.serving.timeline import SEEN_AS, Moment, Timeline


class VideoPredictor:
    """A model and the encoder of its words, for one recording after the other.

    Args:
        predictor: the model.
        extractions: modality -> how picture and sound become features.
        encoder: makes features of words; None for that of the model's training data.

    Raises:
        ModelError: the model was trained on other features than those of a video.
        ConfigError: nobody says which encoder it was, or a package is not installed.
    """

    def __init__(
        self,
        predictor: SamplePredictor,
        extractions: Mapping[Modality, Extraction],
        encoder: str | Path | TextEncoder | None = None,
    ) -> None:
        _check_features(predictor, extractions)
        self.predictor = predictor
        self._encoding: SampleEncoder | None = None
        if "text" in predictor.dims:
            chosen = encoder_of(predictor, encoder)
            self._encoding = SampleEncoder(chosen, aligned=predictor.card.aligned)

    def timeline(
        self,
        name: str,
        recording: Recording,
        *,
        explain: bool = True,
        max_steps: MaxSteps | None = None,
    ) -> Timeline:
        """Return the utterances of a recording with their emotions.

        Args:
            name: of the video; the ids of its utterances begin with it.
            recording: what was extracted.
            explain: whether to measure evidence.
            max_steps: as for :meth:`SamplePredictor.predict`.

        Raises:
            ConfigError: ``max_steps`` makes no sense.
        """
        samples = self._samples(name, recording)
        return timeline_of(self.predictor, recording, samples, explain=explain, max_steps=max_steps)

    def _samples(self, name: str, recording: Recording) -> Iterable[Sample]:
        """Return a sample for each utterance; there may be nothing in it that the model takes."""
        aligned = self.predictor.card.aligned
        stretches = stretches_of(name, recording)
        samples = samples_of(recording, stretches, aligned=aligned)
        if self._encoding is None:
            return samples
        items = ((UNSPLIT, sample) for sample in samples)
        return (sample for _, sample in self._encoding.samples(items))


def _check_features(predictor: SamplePredictor, extractions: Mapping[Modality, Extraction]) -> None:
    """Refuse a model that was trained on features that no video gives.

    Raises:
        ModelError: it is one.
    """
    known = predictor.card.extraction
    check_extraction(extractions, known, predictor.modalities, "this video")
    for m in predictor.modalities:
        # of words the encoder says it
        if m == "text" or (m in known and m in extractions):
            continue
        if m in known:
            raise ModelError(
                f"the model takes {m}, which is not extracted here",
                expected=known[m].describe(),
                fix="leave out --no-face and --no-voice",
            )
        raise ModelError(
            f"the model takes {m} of width {predictor.dims[m]}, and does not say how that was made",
            expected="a model that was trained on features of `emotailor extract`",
            fix="name no model, for the one that reads words; or train one on labelled videos: "
            "emotailor extract videos/ --labels labels.csv --out data/mine. Features that other "
            "programs made of the video can be predicted after `emotailor data convert`",
        )


# ---------------------------------------------------------------------- the timeline


def timeline_of(
    predictor: SamplePredictor,
    recording: Recording,
    samples: Iterable[Sample | Failure],
    *,
    explain: bool = True,
    max_steps: MaxSteps | None = None,
) -> Timeline:
    """Predict the utterances of a recording.

    Evidence is measured for utterances in which a label holds: of each modality as a whole, and of
    each word.

    Args:
        predictor: a model.
        recording: what was extracted of a video.
        samples: one for each utterance, in order, with the features that the model takes; or why
            there is none.
        explain: whether to measure evidence.
        max_steps: as for :meth:`SamplePredictor.predict`.

    Raises:
        DataError: there are not as many samples as utterances.
        ConfigError: ``max_steps`` makes no sense.
    """
    given = [_unseen_as_failure(predictor, item) for item in samples]
    utterances = recording.utterances
    if len(given) != len(utterances):
        raise DataError(
            f"{len(given)} samples of {recording.medium.path}",
            expected=f"one for each of its {len(utterances)} utterances",
        )

    outcomes = predictor.stream(
        given,
        explain="held" if explain else False,
        steps_of=("text",),
        max_steps=max_steps,
    )
    source = str(recording.medium.path)
    moments = []
    for utterance, outcome in zip(utterances, outcomes, strict=True):
        named = replace(outcome, source=source)
        moments.append(_moment(recording, utterance, named))

    return Timeline(
        source=source,
        duration=recording.duration,
        label_names=predictor.label_names,
        thresholds=dict(zip(predictor.label_names, predictor.thresholds.tolist(), strict=True)),
        model=_name_of(predictor),
        evidence=_evidence(predictor, given),
        picture=recording.medium.picture is not None,
        notes=_notes(predictor, recording, given),
        moments=tuple(moments),
        curves=curves_of(recording),
    )


def _unseen_as_failure(predictor: SamplePredictor, item: Sample | Failure) -> Sample | Failure:
    """Return a sample, or that there is nothing in it that the model takes."""
    if isinstance(item, Failure) or predictor.can_see(item):
        return item
    taken = [SEEN_AS[m] for m in predictor.modalities]
    error = DataError(f"no {' or '.join(taken)}", expected="what the model was trained on")
    return Failure(item.id, error)


def _moment(recording: Recording, utterance: Utterance, outcome: Prediction | Failure) -> Moment:
    between = (utterance.start, utterance.end)
    return Moment(
        start=utterance.start,
        end=utterance.end,
        words=utterance.words,
        outcome=outcome,
        face=share_of_face(recording, *between),
        voice=share_of_voice(recording, *between),
        smile=mean_between(recording, "smile", *between),
        energy=mean_between(recording, "energy", *between),
    )


def _name_of(predictor: SamplePredictor) -> str:
    """Return which model it is, in words."""
    card = predictor.card
    data = card.data.get("name")
    trained = f", trained on {data}" if data else ""
    return f"{card.system}{trained}"


def _has(given: Sequence[Sample | Failure], modality: Modality) -> int:
    """Return how many samples have a modality."""
    samples = [item for item in given if isinstance(item, Sample)]
    return sum(len(sample.sequences.get(modality, ())) > 0 for sample in samples)


def _evidence(
    predictor: SamplePredictor, given: Sequence[Sample | Failure]
) -> tuple[Modality, ...]:
    """Return the modalities of the model that any sample has."""
    return tuple(m for m in predictor.modalities if _has(given, m))


def _notes(
    predictor: SamplePredictor, recording: Recording, given: Sequence[Sample | Failure]
) -> tuple[str, ...]:
    """Return what was done without: in the recording, and by the model."""
    notes = list(recording.notes)
    for track in (recording.face, recording.voice):
        if track is not None:
            notes += track.notes

    # what a viewer sees on the timeline must not be taken for a reason
    shown: list[str] = []
    tracks: dict[Modality, Timed | None] = {"visual": recording.face, "audio": recording.voice}
    for m, track in tracks.items():
        if track is not None and m not in predictor.modalities:
            shown.append(SEEN_AS[m])
    reads = " and ".join(SEEN_AS[m] for m in predictor.modalities)
    if shown:
        listed = " and ".join(shown)
        verb = "are" if len(shown) > 1 else "is"
        notes.append(f"The model reads {reads} alone: {listed} {verb} shown, but no evidence.")

    if given and not _evidence(predictor, given):
        notes.append(f"Nothing is predicted: the model reads {reads} alone, and there are none.")
        return tuple(dict.fromkeys(notes))

    for m in predictor.modalities:
        lacking = len(given) - _has(given, m)
        if lacking == len(given):
            notes.append(f"No utterance has {SEEN_AS[m]}, which the model takes: it did without.")
        elif lacking:
            notes.append(f"{lacking} of {len(given)} utterances have no {SEEN_AS[m]}.")
    return tuple(dict.fromkeys(notes))
