"""Requests with features a second: many clients beside one, and whether all answers are right.

    python -m benchmarks.serving --clients 32 --seconds 60

A service is started on this machine, with a TAILOR of the paper's sizes and drawn weights unless
another model is named. Clients are threads of this process, each with a connection of its own; they
send samples of about CMU-MOSEI's lengths one by one. Every answer is compared with what the command
line's predictor says of that sample alone. Client and service share the cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.explaining import paper_model
from emotailor.errors import ConfigError
from emotailor.files import write_json
from emotailor.serving.predictor import Predictor
from emotailor.training.model_folder import save_model

MOST_CLIENTS = 128
MOST_SECONDS = 600
MEAN_STEPS = 19.5  # words of a segment of CMU-MOSEI
SHORTEST, LONGEST = 3, 50


@dataclass
class Seen:
    """What one client saw.

    Attributes:
        seconds: of each request.
        errors: what went wrong.
        wrong: answers that are not those of the command line.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0


def questions(predictor: Predictor, count: int, form: str) -> list[tuple[bytes, Any]]:
    """Return bodies and what is expected for each."""
    from safetensors.numpy import save

    rng = np.random.default_rng(7)
    made = []
    for _ in range(count):
        steps = int(np.clip(rng.exponential(MEAN_STEPS), SHORTEST, LONGEST))
        sample: dict[str, Any] = {
            m: rng.normal(size=(steps, width)).astype(np.float32)
            for m, width in predictor.dims.items()
        }
        if form == "json":
            lists = {m: x.tolist() for m, x in sample.items()}
            body = json.dumps({"samples": [lists]}).encode()
        else:
            body = save(sample)
        made.append((body, predictor.predict(sample).to_json()))
    return made


@contextmanager
def service(model: Path, extra: Sequence[str]) -> Iterator[int]:
    """Start a service on a port that is free, and yield the port."""
    command = [sys.executable, "-m", "emotailor", "serve", str(model), "--port", "0", *extra]
    # threads of torch that wait in a loop would take the cores from the clients
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "listening on" not in line:
            raise ConfigError("the service did not start", fix=" ".join(command))
        yield int(line.rstrip("/\n").rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(30)


def paper_model_in(folder: Path) -> Path:
    """Write TAILOR of the paper's sizes, with drawn weights."""
    predictor = paper_model()
    save_model(folder, predictor.card, predictor.model, predictor.standardizer)
    return folder


@dataclass(frozen=True)
class Load:
    """What is asked, and where.

    Attributes:
        port: of the service.
        made: bodies and what is expected for each.
        kind: of the bodies.
    """

    port: int
    made: Sequence[tuple[bytes, Any]]
    kind: str


def ask(given: Load, start: int, until: float, seen: Seen) -> None:
    """Send one request after the other until the time is over."""
    connection = HTTPConnection("127.0.0.1", given.port, timeout=60)
    place = start
    while time.perf_counter() < until:
        body, expected = given.made[place % len(given.made)]
        place += 1
        begun = time.perf_counter()
        try:
            connection.request("POST", "/v1/predict", body, {"Content-Type": given.kind})
            answered = connection.getresponse()
            content = answered.read()
        except OSError as error:
            seen.errors.append(repr(error))
            connection.close()
            continue
        seen.seconds.append(time.perf_counter() - begun)
        if answered.status != 200:
            seen.errors.append(f"{answered.status} {content[:200]!r}")
        elif json.loads(content)["predictions"] != [expected]:
            seen.wrong += 1
    connection.close()


def load(given: Load, clients: int, seconds: float) -> dict[str, Any]:
    """Let some clients ask for some seconds, and return what they saw."""
    all_seen = [Seen() for _ in range(clients)]
    begun = time.perf_counter()
    threads = [
        threading.Thread(target=ask, args=(given, 7 * k, begun + seconds, seen))
        for k, seen in enumerate(all_seen)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun

    times = np.array([t for seen in all_seen for t in seen.seconds])
    errors = [error for seen in all_seen for error in seen.errors]
    return {
        "clients": clients,
        "requests": len(times),
        "per_second": len(times) / took,
        "p50_ms": 1000 * float(np.percentile(times, 50)),
        "p99_ms": 1000 * float(np.percentile(times, 99)),
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
        "wrong": sum(seen.wrong for seen in all_seen),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one client, then many."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--model", type=Path, help="a run or model folder")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--alone", type=float, default=20.0, help="seconds of one client")
    parser.add_argument("--form", choices=["json", "safetensors"], default="json")
    parser.add_argument("--samples", type=int, default=64, help="different ones")
    parser.add_argument("--jointly", action="store_true", help="as the option of `serve`")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args(arguments)
    if not 1 <= given.clients <= MOST_CLIENTS or not 0 < given.seconds <= MOST_SECONDS:
        raise ConfigError(
            f"{given.clients} clients for {given.seconds} s",
            expected=f"1 to {MOST_CLIENTS}, for {MOST_SECONDS} s at most",
        )

    with tempfile.TemporaryDirectory() as folder:
        place = given.model or paper_model_in(Path(folder))
        made = questions(Predictor.load(place, device="cpu"), given.samples, given.form)
        kind = "application/json" if given.form == "json" else "application/octet-stream"
        extra = ["--device", "cpu", *(["--jointly"] if given.jointly else [])]
        with service(place, extra) as port:
            asked = Load(port, made, kind)
            load(asked, 1, 1.0)  # everything is loaded
            rows = [load(asked, 1, given.alone), load(asked, given.clients, given.seconds)]
    for row in rows:
        print(
            f"{row['clients']:3} clients: {row['requests']:6,} requests, "
            f"{row['per_second']:7.1f} a second, p50 {row['p50_ms']:6.1f} ms, "
            f"p99 {row['p99_ms']:6.1f} ms, {row['errors']} errors, {row['wrong']} wrong"
        )
    if given.json is not None:
        machine = report.describe_machine()
        write_json(given.json, {"machine": machine, "form": given.form, "rows": rows})


if __name__ == "__main__":
    report.run(main)
