"""Many videos to one data set: several at a time, resumable, and one broken video loses itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from emotailor.cores import shared_cores
from emotailor.data.card import FOLDER as DATASET_FOLDER
from emotailor.data.cutting import MaxSteps
from emotailor.data.dataset import EmotionDataset
from emotailor.data.readers import ConvertOptions, Format, Reading
from emotailor.data.readers._common import require_file
from emotailor.data.readers.account import Account
from emotailor.data.readers.convert import convert
from emotailor.encoders.table import load_encoder
from emotailor.errors import EmotailorError
from emotailor.extraction.base import Recording
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.find import Found, find_videos, transcripts_in
from emotailor.extraction.reading import read_labels, reading_of
from emotailor.extraction.recording import Extractor, Task, extract_task, extractor_of
from emotailor.extraction.stored import RecordingStore, recording_key, store_beside
from emotailor.extraction.workers import Tell, Workers, none_at_all
from emotailor.files import sha256_of
from emotailor.watch import Watch


@dataclass(frozen=True)
class Extracted:
    """What came of a folder of videos.

    Attributes:
        dataset: the stored data set.
        failures: name of a video -> why nothing could be extracted of it.
        reused: how many videos an earlier call had extracted.
    """

    dataset: EmotionDataset
    failures: Mapping[str, EmotailorError] = field(default_factory=dict)
    reused: int = 0


@dataclass(frozen=True)
class _ToKeep:
    """A video to extract, and the folder to keep its recording in."""

    task: Task
    store: Path


@dataclass(frozen=True)
class Kept:
    """Where the recording of a video is.

    Attributes:
        key: under which the store has it.
        reused: whether it was there already.
    """

    key: str
    reused: bool


def extract(
    source: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    label_names: Sequence[str] | None = None,
    label_threshold: float = 0.0,
    label_rule: str = ">",
    split: str | Sequence[float] | None = None,
    split_seed: int = 0,
    name: str | None = None,
    config: ExtractionConfig | None = None,
    transcripts: str | Path | None = None,
    face_model: str | Path | None = None,
    max_steps: MaxSteps | None = None,
    longer: str = "cut",
    processes: int | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Extracted:
    """Extract features of videos, and store them as a data set.

    What is extracted of a video is kept beside ``output`` until the data set is complete. So a
    call that was stopped or killed is gone on with by the same call.

    Args:
        source: a video, or a folder of videos, also in folders below.
        output: folder to create.
        labels: a table with the name of a video in each row (``id``), start and end in seconds
            where a row is about a part of it, and a column for each label; perhaps ``split``.
            Without it, each utterance is a sample without labels.
        label_names: which columns are labels; by default those named like emotions.
        label_threshold: a label holds where its value is beyond this.
        label_rule: ``>`` or ``>=``: whether the threshold itself counts.
        split: shares of train, valid and test, such as ``70/10/20``, where the table has no splits.
        split_seed: another number divides in another way.
        name: name of the data set; by default that of the source.
        config: what is extracted, and how.
        transcripts: folder with files ``NAME.srt``, ``.vtt``, ``.json`` or ``.txt``; the words of a
            video without one are recognised. For one video also the file itself.
        face_model: file of the face landmarker; by default where it usually is.
        max_steps: most steps of a sample, as for :func:`emotailor.convert`.
        longer: what becomes of a sample with more, ``cut`` or ``split``.
        processes: how many videos at a time; by default one for each core.
        overwrite: replace a data set.
        console: where to show how far it is; None for nowhere.

    Raises:
        DataError: there is no video, none could be extracted, the labels are of other videos, or
            ``output`` exists.
        ConfigError: a library or a model is not there, or an option is out of range.
    """
    source = Path(source)
    output = Path(output)
    config = config or ExtractionConfig()

    # what can be refused is refused before hours of work
    DATASET_FOLDER.check_new(output, overwrite=overwrite)
    videos = find_videos(source)
    encoder = load_encoder(config.encoder)
    extractor = Extractor(config, None if face_model is None else Path(face_model))
    told = {} if transcripts is None else transcripts_in(Path(transcripts), videos)
    if len(told) < len(videos):
        extractor.check_recogniser()
    if labels is not None:
        options = ConvertOptions(
            labels=Path(labels),
            label_names=None if label_names is None else tuple(label_names),
            label_threshold=label_threshold,
            label_rule=label_rule,
        )
        known = read_labels(Path(labels), videos, options, Account())
        videos = [video for video in videos if video.name in known.segments]

    store = RecordingStore(store_beside(output))
    place = None if face_model is None else Path(face_model)
    at_once, threads = shared_cores(len(videos), processes)
    tasks = []
    for video in videos:
        task = Task(video, config, told.get(video.name), place, threads)
        tasks.append(_ToKeep(task, store.folder))
    kept, failures = _extract_all(tasks, at_once, console)
    if not kept:
        raise none_at_all(failures)

    def recording_of(video: Found) -> Recording | None:
        found = kept.get(video.name)
        return None if found is None else store.get(found.key)

    def read(_: Path, options: ConvertOptions) -> Reading:
        return reading_of(
            videos,
            recording_of,
            options,
            dims=extractor.dims,
            extraction=extractor.extractions,
            aligned=config.aligned,
        )

    understood = {"labels", "label_names", "label_threshold", "label_rule", "text_column"}
    recordings = Format("recordings", "videos and sounds", read, frozenset(understood))
    dataset = convert(
        source,
        output,
        format=recordings,
        name=name,
        labels=labels,
        label_names=label_names,
        label_threshold=label_threshold,
        label_rule=label_rule,
        split=split,
        split_seed=split_seed,
        max_steps=max_steps,
        longer=longer,
        encoder=encoder,
        overwrite=overwrite,
        console=console,
    )
    # a video that failed may be mended: then only that one is extracted
    if not failures:
        store.discard()
    reused = sum(one.reused for one in kept.values())
    return Extracted(dataset, failures, reused)


def _extract_all(
    tasks: Sequence[_ToKeep], processes: int, console: Console | None
) -> tuple[dict[str, Kept], dict[str, EmotailorError]]:
    """Extract videos, and return where each is and why others are not."""
    kept: dict[str, Kept] = {}
    failures: dict[str, EmotailorError] = {}
    place = console or Console(quiet=True)
    with (
        Watch(place, len(tasks), doing="extracting", done="extracted", what="video") as watch,
        Workers(keep_recording, tasks, processes=processes, on_share=watch.reach) as workers,
    ):
        for done in workers.ended():
            name = done.task.task.video.name
            if done.error is not None:
                failures[name] = done.error
            elif done.result is not None:
                kept[name] = done.result
    return kept, failures


def keep_recording(given: _ToKeep, tell: Tell) -> Kept:
    """Extract a video into its store, unless it is there.

    Raises:
        EmotailorError: it cannot be extracted.
    """
    task = given.task
    store = RecordingStore(given.store)
    require_file(task.video.path, "a video or a sound")
    content = sha256_of(task.video.path)
    key = recording_key(content, extractor_of(task).settings(task.transcript))
    if store.has(key):
        return Kept(key, reused=True)

    store.put(key, extract_task(task, tell))
    return Kept(key, reused=False)
