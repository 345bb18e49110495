"""Seconds and memory of opening a data set of CMU-MOSEI's size and of making its batches.

The same synthetic samples are stored in our format and in the layout of the authors' file: arrays
padded to 60 steps in one dict, read with torch.load. Each way is measured in fresh processes, in
turns; the files were just written, so they lie in the operating system's cache for all. The padded
file is read by plain indexing, and with --reference by the authors' data code too. Files lie in a
temporary folder and are deleted afterwards.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import report
from benchmarks.specification import DIMS
from benchmarks.worker import WorkerError, environment
from emotailor.errors import ConfigError

TRAIN_SAMPLES = 16326
_TITLES = {
    "ours": "ours",
    "standardized": "ours, standardised",
    "padded": "padded file",
    "reference": "reference loader",
}


def run_child(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run one request of ``data_worker`` in a fresh process; return its answer."""
    # the authors' code loads pickled arrays, which torch refuses unless told otherwise
    env = {**environment(), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.data_worker", json.dumps(request)],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise WorkerError(f"reading ended with exit code {done.returncode}: {said[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _check_space(folder: Path, samples: int) -> None:
    needed = samples * (60 + 25) * 4 * sum(DIMS.values())
    free = shutil.disk_usage(folder).free
    if free < 1.2 * needed:
        raise ConfigError(
            f"{free / 2**30:.1f} GiB free in {folder}",
            expected=f"{1.2 * needed / 2**30:.1f} GiB for {samples} samples",
            fix="lower --samples, or name another folder with --folder",
        )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument("--reference", type=Path, help="a checkout of kniter1/TAILOR")
    parser.add_argument("--samples", type=report.positive, default=TRAIN_SAMPLES)
    parser.add_argument("--batch", type=report.positive, default=64)
    parser.add_argument("--repeats", type=report.positive, default=3)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="for temporary files"
    )
    args = parser.parse_args(arguments)
    report.check_json(args.json)
    if args.batch > args.samples:
        raise ConfigError(f"--batch {args.batch}", expected=f"at most --samples {args.samples}")
    if not args.folder.is_dir() or not os.access(args.folder, os.W_OK):
        raise ConfigError(f"--folder {args.folder}", expected="a folder that can be written")
    kinds = ["ours", "standardized", "padded"]
    if args.reference is not None:
        from benchmarks.reference_tailor import CHECKOUT

        args.reference = CHECKOUT.check(args.reference)
        kinds.append("reference")
    _check_space(args.folder, args.samples)

    from emotailor.data.synthetic import SyntheticConfig, synthesize

    measured: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        stored, padded = Path(name) / "stored", Path(name) / "padded.pt"
        synthesize(SyntheticConfig(train=args.samples, valid=0, test=0), stored)
        run_child({"kind": "write", "stored": str(stored), "path": str(padded)})
        sizes = {
            "ours": sum(file.stat().st_size for file in stored.iterdir()),
            "padded": padded.stat().st_size,
        }
        for _ in range(args.repeats):
            for kind in kinds:
                ours = kind in ("ours", "standardized")
                request = {"kind": kind, "batch": args.batch, "checkout": str(args.reference)}
                measured[kind].append(
                    run_child({**request, "path": str(stored if ours else padded)})
                )
    rows = []
    for kind, runs in measured.items():
        size = sizes["ours" if kind in ("ours", "standardized") else "padded"]
        row: dict[str, Any] = {"way": _TITLES[kind], "file_bytes": size, "runs": runs}
        for key in runs[0]:
            values = [run[key] for run in runs]
            row[key] = None if None in values else median(values)
        row["memory_added_by_opening"] = (
            None if row["memory_before"] is None else row["memory_opened"] - row["memory_before"]
        )
        rows.append(row)
    result: dict[str, Any] = {
        "benchmark": "data",
        "machine": report.describe_machine(),
        "settings": {"samples": args.samples, "batch": args.batch, "repeats": args.repeats},
        "rows": rows,
    }
    report.show(
        f"Data, {args.samples:,} samples, batch {args.batch}",
        [
            "way",
            "GiB file",
            "s open",
            "MiB before",
            "MiB opened",
            "s first batch",
            "s epoch",
            "MiB peak",
            "MiB private",
        ],
        [_cells(row) for row in rows],
        [
            report.machine_line(result["machine"]),
            "Medians over fresh processes. s first batch: from the start of opening. MiB: resident",
            "before opening, before the first batch, at most; private: at the end, no file pages.",
        ],
    )
    report.save(args.json, result)
    return result


def _cells(row: Mapping[str, Any]) -> list[str]:
    def mib(key: str) -> str:
        return "-" if row[key] is None else f"{row[key] / 2**20:,.0f}"

    return [
        row["way"],
        report.gib(row["file_bytes"]),
        f"{row['open_seconds']:.3f}",
        mib("memory_before"),
        mib("memory_opened"),
        f"{row['first_batch_seconds']:.3f}",
        f"{row['epoch_seconds']:.2f}",
        mib("memory_peak"),
        mib("memory_private"),
    ]


if __name__ == "__main__":
    report.run(main)
