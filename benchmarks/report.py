"""What every benchmark shares: its arguments, the machine, the table and the JSON file."""

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from emotailor import __version__
from emotailor.errors import ConfigError, EmotailorError
from emotailor.files import write_json


def positive(text: str) -> int:
    """Read a whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all benchmarks have."""
    result = argparse.ArgumentParser(
        description=(doc or "").strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    return result


def add_device(result: argparse.ArgumentParser, *, settings: bool = True) -> None:
    """Add the arguments of benchmarks that compute; ``settings``: those of our TAILOR too."""
    result.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 or auto (default: cpu)")
    result.add_argument("--threads", type=positive, help="of torch; default: its own choice")
    if settings:
        result.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="change a setting of our model, such as hidden_size=64; not beside --reference",
        )


def choose_device(wanted: str) -> str:
    """Return the device to measure on, as torch names it.

    Raises:
        ConfigError: there is no such device.
    """
    from emotailor.training.setup import choose_device as choose

    try:
        device = choose(wanted)
    except ConfigError as error:
        found = error.found.replace("training.device = ", "--device ")
        raise ConfigError(found, expected=error.expected) from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {wanted}", expected="cpu, cuda or cuda:1")
    return str(device)


def run(main: Callable[[Sequence[str] | None], object]) -> None:
    """Run a benchmark; a mistake of the user ends in one message."""
    try:
        main(None)
    except EmotailorError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_machine(device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Say what was measured on."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
    return {
        "emotailor": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "device": device,
        "device_name": name,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": threads or torch.get_num_threads(),
    }


def product_rates(device: str, threads: int | None = None) -> dict[str, float]:
    """Measure the machine's matrix-product rate in GFLOP/s: the ceiling of every program here."""
    import torch

    from emotailor.training.precision import matmul_rate

    if threads:
        torch.set_num_threads(threads)
    size = 8192 if device.startswith("cuda") else 1024
    return {
        "fp32": matmul_rate(torch.float32, device, size=size) / 1e9,
        "bf16": matmul_rate(torch.bfloat16, device, size=size) / 1e9,
    }


def best_rates(measured: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the highest of several measurements: the least disturbed one."""
    measured = list(measured)
    return {name: max(rates[name] for rates in measured) for name in measured[0]}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, min and max."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def gib(value: float | None) -> str:
    """Write a number of bytes."""
    return "-" if value is None else f"{value / 2**30:.2f}"


def show(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # a table in a file needs its full width; a terminal has its own
    console = Console() if sys.stdout.isatty() else Console(width=180)
    console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def machine_line(machine: Mapping[str, Any], rates: Mapping[str, float] | None = None) -> str:
    """Say in one line what was measured on."""
    line = (
        f"{machine['device_name']} ({machine['device']}), {machine['threads']} threads, "
        f"load {machine['load']:.1f}, torch {machine['torch']}"
    )
    if rates:
        line += f"; matrix product fp32 {rates['fp32']:.0f}, bf16 {rates['bf16']:.0f} GFLOP/s"
    return line


def save(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write the numbers as JSON, if a file was named."""
    if path is not None:
        write_json(path, report)


def check_json(path: Path | None) -> None:
    """Refuse, before anything is measured, a file that cannot be written.

    Raises:
        ConfigError: the path is a folder, or lies below a file.
    """
    if path is None:
        return
    parents = [p for p in path.resolve().parents if p.exists()]
    if path.resolve().is_dir() or not parents[0].is_dir() or not os.access(parents[0], os.W_OK):
        raise ConfigError(
            f"--json {path} cannot be written", expected="a file in a folder that can be written"
        )
