"""One program in one process, driven line by line: ``python -m benchmarks.worker``.

A process of its own, so that its peak memory is its own; driven step by step, so that two programs
can be measured in turns and share whatever else the machine is doing. The first line on standard
input is a specification; each further one a command, answered by one line of JSON:

    {"command": "predict", "lengths": [...], "seed": 1} -> {"seconds", "cpu_seconds", "shapes"}
    {"command": "train", "lengths": [...], "seed": 1}   -> the same and "loss"
    {"command": "memory"}                               -> {"now", "peak", "device_peak"}, bytes
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from benchmarks import memory
from benchmarks.specification import Specification
from emotailor.data.sample import Modality, Sample
from emotailor.errors import EmotailorError

if TYPE_CHECKING:
    from emotailor.data.batching import Batch

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """Return the environment in which a process finds this package from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


class WorkerError(EmotailorError):
    """A worker process ended before it answered."""


class Worker:
    """A started worker process, as a context manager.

    Args:
        spec: what it builds.

    Raises:
        WorkerError: it ended before it was ready.
    """

    def __init__(self, spec: Specification) -> None:
        self.errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(),
        )
        try:
            self.ready = self.ask(spec.to_json())
        except BaseException:
            self.__exit__()
            raise

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a command and return the answer.

        Raises:
            WorkerError: the process ended instead.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            line = ""
        else:
            line = self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines() or ["it said nothing"]
        raise WorkerError(
            f"a measured program ended with exit code {code}: {said[-1]}",
            fix="free memory, lower --batch, or measure fewer programs" if code == -9 else None,
        )

    def run(self, command: str, lengths: Sequence[int] | np.ndarray, seed: int) -> dict[str, Any]:
        """Train or predict on one batch of random sequences of these lengths."""
        return self.ask(
            {"command": command, "lengths": [int(n) for n in lengths], "seed": int(seed)}
        )

    def memory(self) -> dict[str, int]:
        """Return resident memory (``now``), its ``peak`` and the device's (``device_peak``)."""
        return self.ask({"command": "memory"})

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.errors.close()


def random_batch(
    spec: Specification, lengths: Sequence[int], seed: int, *, labels: bool
) -> "Batch":
    """Draw one batch; the same lengths and seed give the same batch in every process."""
    from emotailor.data.batching import collate

    rng = np.random.default_rng(seed)
    samples = []
    for i, steps in enumerate(lengths):
        sequences: dict[Modality, np.ndarray] = {
            m: rng.standard_normal((steps, dim), np.float32) for m, dim in spec.dims.items()
        }
        truth = (rng.random(spec.num_labels) < 0.25).astype(np.uint8)
        samples.append(Sample(str(i), sequences, truth if labels else None))
    return collate(samples, spec.dims, aligned=True)


def _serve() -> None:
    # whatever the measured program prints must not end up among the answers
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    spec = Specification.parse(json.loads(sys.stdin.readline()))

    import torch

    from benchmarks.subjects import build

    if spec.threads:
        torch.set_num_threads(spec.threads)
    torch.manual_seed(0)
    device = torch.device(spec.device)
    cuda = device.type == "cuda"
    measured = build(spec, device)
    parameters = sum(p.numel() for p in measured.model.parameters())
    ready = {"parameters": parameters, "threads": torch.get_num_threads()}
    print(json.dumps(ready), file=answers)
    for line in sys.stdin:
        message = json.loads(line)
        answer: dict[str, Any] = {"now": memory.resident(), "peak": memory.peak()}
        answer["device_peak"] = torch.cuda.max_memory_allocated(device) if cuda else None
        if message["command"] != "memory":
            train = message["command"] == "train"
            batch = random_batch(spec, message["lengths"], message["seed"], labels=train)
            work = measured.train_step if train else measured.predict
            inputs = measured.prepare(batch)
            if cuda:
                torch.cuda.synchronize(device)
            started, used = time.perf_counter(), time.process_time()
            result = work(inputs)
            if cuda:
                torch.cuda.synchronize(device)
            answer = {"seconds": time.perf_counter() - started}
            answer["cpu_seconds"] = time.process_time() - used
            answer["shapes"] = measured.shapes(inputs)
            if train:
                answer["loss"] = result
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    _serve()
