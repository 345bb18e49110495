"""The predictor: from samples, or a video, to named emotions with reasons."""

from pathlib import Path

from emotailor.data.cutting import MaxSteps
from emotailor.encoders.base import TextEncoder
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.find import find_videos
from emotailor.extraction.recording import Extractor
from emotailor.serving.samples import SamplePredictor
from emotailor.serving.timeline import Timeline
from emotailor.serving.video import VideoPredictor


class Predictor(SamplePredictor):
    """A trained model, ready to name emotions.

    Samples are what :class:`~emotailor.serving.samples.SamplePredictor` takes; this adds videos.
    """

    def predict_video(
        self,
        path: str | Path,
        *,
        config: ExtractionConfig | None = None,
        transcript: str | Path | None = None,
        face_model: str | Path | None = None,
        encoder: str | Path | TextEncoder | None = None,
        explain: bool = True,
        max_steps: MaxSteps | None = None,
    ) -> Timeline:
        """Name the emotions of each utterance of a video or a sound.

        Args:
            path: the file.
            config: what is extracted, and how.
            transcript: a file with what is said, instead of recognising it.
            face_model: file of the face landmarker; by default where it usually is. Where it is not
                there, and the model does not need faces, none is looked for.
            encoder: makes features of words; by default that of the model's training data.
            explain: whether to measure evidence.
            max_steps: what to cut long utterances to, as for :meth:`predict`.

        Raises:
            DataError: the file cannot be decoded, or the transcript is damaged.
            ModelError: the model was trained on other features than those of a video.
            ConfigError: a library or a model is not there, or an option is out of range.
        """
        (video,) = find_videos(Path(path), folders=False)
        place = None if face_model is None else Path(face_model)
        said = None if transcript is None else Path(transcript)

        extractor, notes = Extractor.with_what_is_there(config or ExtractionConfig(), place)
        predicting = VideoPredictor(self, extractor.extractions, encoder)
        recording = extractor.extract(video.path, said).noting(notes)
        return predicting.timeline(video.name, recording, explain=explain, max_steps=max_steps)
