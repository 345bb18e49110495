"""From what was extracted of a video to its timeline."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from emotailor.data.cutting import MaxSteps
from emotailor.data.extraction import Extraction, check_extraction
from emotailor.data.sample import UNSPLIT, Modality, Sample
from emotailor.encoders.base import TextEncoder
from emotailor.encoders.samples import SampleEncoder
from emotailor.errors import ModelError
from emotailor.extraction.base import Recording
from emotailor.extraction.samples import samples_of, stretches_of
from emotailor.serving.encoder import encoder_of
from emotailor.serving.samples import SamplePredictor
from emotailor.serving.timeline import Timeline, timeline_of


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
