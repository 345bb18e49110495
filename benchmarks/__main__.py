"""All benchmarks at moderate size, without a reference; see benchmarks/README.md for more."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import data, inference, report, scaling, systems, training_step
from emotailor.errors import ConfigError
from emotailor.models.table import SYSTEMS

LEFT_OUT = ("tailor",)  # measured above


def main(arguments: Sequence[str] | None = None) -> None:
    """Run them one after the other, each with its JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("build/benchmarks"), help="folder of the JSON files"
    )
    out: Path = parser.parse_args(arguments).out
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}", expected="a folder")
    comparison = ["--repeats", "3", "--batch", "32"]
    training_step.main([*comparison, "--json", str(out / "training_step.json")])
    inference.main([*comparison, "--json", str(out / "inference.json")])
    data.main(["--samples", "4000", "--json", str(out / "data.json")])
    scaling.main(["--batches", "8", "16", "32", "--json", str(out / "scaling.json")])
    others = [name for name in SYSTEMS if name not in LEFT_OUT]
    chosen = ["--systems", *others, "--lengths", "mosei", *comparison]
    systems.main([*chosen, "--json", str(out / "systems.json")])


if __name__ == "__main__":
    report.run(main)
