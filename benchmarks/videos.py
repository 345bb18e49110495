"""From a video to its timeline: what each stage costs, as processor and clock seconds.

One process does one after the other what `emotailor predict VIDEO` does at once: it decodes, looks
for the face, makes features of the sound, finds the words and predicts with the model that ships.
Loading the libraries and the models is a row of its own, since it does not grow with the video.

The last rows are the command itself, from its start to its end: by the clock, and all processor
seconds of its processes. On a machine that does something else, the first says little.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.encoding import peak_memory
from emotailor.errors import ConfigError
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.recording import Extractor
from emotailor.serving.predictor import Predictor
from emotailor.serving.video import VideoPredictor

CLIPS = Path("../shared/data/mosei_clips")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument("videos", type=Path, nargs="*", help="by default the clips of CMU-MOSEI")
    parser.add_argument("--face-model", type=Path, help="file of the face landmarker")
    args = parser.parse_args(arguments)
    report.check_json(args.json)
    videos = args.videos or sorted(CLIPS.glob("*.mp4"))
    if not videos:
        raise ConfigError("no video", expected=f"videos, or {CLIPS} beside the project")

    rows = [row for video in videos for row in measure(video, args.face_model)]
    machine = report.describe_machine("cpu")
    memory = f"peak memory of this process: {peak_memory():,.0f} MiB"
    report.show(
        "From a video to its timeline",
        ["video", "stage", "s", "s a second of video", "times real time"],
        [_cells(row) for row in rows],
        [report.machine_line(machine), memory],
    )
    result = {"benchmark": "videos", "machine": machine, "rows": rows, "memory": memory}
    report.save(args.json, result)
    return result


def measure(video: Path, face_model: Path | None) -> list[dict[str, Any]]:
    """Return a row for each stage of a video."""
    started = time.process_time()
    # on two threads, stages would run at once, and could not be told apart
    extractor = Extractor(ExtractionConfig(), face_model, threads=1)
    predicting = VideoPredictor(Predictor.load(), extractor.extractions)
    loading = time.process_time() - started

    # what is loaded at the first use is no part of the video
    extractor.extract(video)
    recording = extractor.extract(video)
    started = time.process_time()
    predicting.timeline(video.stem, recording)
    seconds = {**recording.seconds, "prediction": time.process_time() - started}

    rows = [_row(video, stage, spent, recording.duration) for stage, spent in seconds.items()]
    rows.append(_row(video, "all stages", sum(seconds.values()), recording.duration))
    rows.append(_row(video, "loading", loading, recording.duration))

    command = [sys.executable, "-m", "emotailor", "predict", str(video)]
    if face_model is not None:
        command += ["--face-model", str(face_model)]
    spent_before = _spent_by_others()
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    clock = time.perf_counter() - started
    spent = _spent_by_others() - spent_before
    rows.append(_row(video, "the command, processor", spent, recording.duration))
    rows.append(_row(video, "the command, by the clock", clock, recording.duration))
    return rows


def _spent_by_others() -> float:
    """Return the processor seconds of all processes that this one began, and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _row(video: Path, stage: str, seconds: float, duration: float) -> dict[str, Any]:
    return {"video": video.name, "stage": stage, "seconds": seconds, "duration": duration}


def _cells(row: dict[str, Any]) -> list[str]:
    seconds = row["seconds"]
    duration = row["duration"]
    return [
        row["video"],
        row["stage"],
        f"{seconds:.2f}",
        f"{seconds / duration:.3f}",
        f"{duration / max(seconds, 1e-9):.1f}",
    ]


if __name__ == "__main__":
    report.run(main)
