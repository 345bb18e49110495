"""Texts a second and memory of `data convert --encoder`: from a CSV of texts to a stored data set.

The first --texts rows of a CSV are converted into a temporary folder, which is deleted afterwards.
Loading the encoder is measured apart. Where other work disturbs the seconds of the clock, those of
the processor stand: on two idle cores twice as many texts are encoded in a second.
"""

import csv
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from emotailor.data.readers.convert import convert
from emotailor.encoders import TextEncoder, load_encoder
from emotailor.errors import ConfigError

TABLE = Path("../shared/data/mosei_text/mosei_text.csv")


def rows_of(table: Path, column: str, count: int | None) -> list[str]:
    """Return the texts of a CSV, those that are empty left out.

    Raises:
        ConfigError: there is no such file or column.
    """
    if not table.is_file():
        raise ConfigError(f"--table {table} does not exist", expected="a CSV with texts")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or column not in rows[0]:
        raise ConfigError(f"{table} has no column {column!r}", expected="the column of texts")

    texts = [row[column] for row in rows if row[column].strip()]
    return texts[:count]


def write_table(file: Path, texts: Sequence[str]) -> None:
    """Write texts as a table of samples without labels."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "text"])
        table.writerows([f"text{i}", text] for i, text in enumerate(texts))


def measure(encoder: TextEncoder, texts: Sequence[str]) -> dict[str, Any]:
    """Encode and store texts."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_table(place / "texts.csv", texts)
        clock = time.perf_counter()
        cpu = time.process_time()
        dataset = convert(
            place / "texts.csv", place / "data", encoder=encoder, pooling=encoder.pooling
        )
        cpu_seconds = time.process_time() - cpu
        seconds = time.perf_counter() - clock
        steps = int(dataset["all"].lengths("text").sum())

    return {
        "texts": len(texts),
        "steps": steps,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "texts_a_second": len(texts) / seconds,
        "texts_a_cpu_second": len(texts) / cpu_seconds,
        "memory_mib": peak_memory(),
    }


def peak_memory() -> float:
    """Return the highest resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # in KiB, but for macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument("--table", type=Path, default=TABLE, help="a CSV with texts")
    parser.add_argument("--column", default="text", help="its column of texts")
    parser.add_argument("--texts", type=report.positive, help="only the first ones, this many")
    parser.add_argument("--encoder", nargs="+", default=["minilm"], help="names, folders or files")
    parser.add_argument("--threads", type=report.positive, help="of torch; default: its own choice")
    args = parser.parse_args(arguments)
    report.check_json(args.json)
    if args.threads:
        torch.set_num_threads(args.threads)

    texts = rows_of(args.table, args.column, args.texts)
    rows = {}
    for name in args.encoder:
        clock = time.perf_counter()
        encoder = load_encoder(name)
        load = time.perf_counter() - clock
        rows[name] = {"load_seconds": load, **measure(encoder, texts)}

    machine = report.describe_machine("cpu", args.threads)
    report.show(
        "From texts to a stored data set",
        [
            "encoder", "texts", "words", "s to load", "s", "CPU s", "texts a s",
            "texts a CPU s", "MiB",
        ],
        [_cells(name, row) for name, row in rows.items()],
        [report.machine_line(machine)],
    )  # fmt: skip
    result = {"benchmark": "encoding", "machine": machine, "encoders": rows}
    report.save(args.json, result)
    return result


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    return [
        Path(name).name,
        f"{row['texts']:,}",
        f"{row['steps']:,}",
        f"{row['load_seconds']:.1f}",
        f"{row['seconds']:.1f}",
        f"{row['cpu_seconds']:.1f}",
        f"{row['texts_a_second']:.0f}",
        f"{row['texts_a_cpu_second']:.0f}",
        f"{row['memory_mib']:,.0f}",
    ]


if __name__ == "__main__":
    report.run(main)
