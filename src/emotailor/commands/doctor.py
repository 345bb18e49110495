"""What this machine has for the work: versions, devices, speed."""

import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.table import Table

from emotailor import __version__
from emotailor.encoders.table import ENCODERS
from emotailor.fitted import FittedTable
from emotailor.training.precision import BF16_PAYS, matmul_rate

NEEDED = ("torch", "accelerate", "numpy", "safetensors", "h5py", "scikit-learn", "pydantic")


def examine() -> tuple[bool, Table]:
    """Return whether everything needed is there, and a table of what was found."""
    table = FittedTable(title=f"emotailor {__version__}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    python = platform.python_version()
    table.add_row("Python", f"{python} on {platform.platform()}")

    healthy = True
    for package in NEEDED:
        try:
            table.add_row(package, version(package))
        except PackageNotFoundError:
            healthy = False
            table.add_row(package, "[red]missing[/red]: pip install emotailor")

    threads = torch.get_num_threads()
    table.add_row("CPU", f"{os.cpu_count()} cores, {threads} threads for torch")

    accelerators = _accelerators()
    gpus = ", ".join(accelerators.values())
    table.add_row("GPU", gpus or "none; training runs on the CPU")
    for device in ("cpu", *accelerators):
        table.add_row(f"matrix product on {device}", _speed(device))

    disk = shutil.disk_usage(Path.cwd())
    free = disk.free / 2**30
    table.add_row("free disk here", f"{free:.1f} GiB")

    there = [row.name for row in ENCODERS.values() if importlib.util.find_spec(row.module)]
    table.add_row("encoders of text", ", ".join(there) or "not installed (extra: text)")

    # tests need more than the package
    tools = "installed"
    if importlib.util.find_spec("pytest") is None:
        tools = "not installed (extra: dev)"
    table.add_row("test tools", tools)
    return healthy, table


def _accelerators() -> dict[str, str]:
    """Return the devices beside the CPU, and what they are called."""
    if torch.cuda.is_available():
        found = {}
        for i in range(torch.cuda.device_count()):
            found[f"cuda:{i}"] = torch.cuda.get_device_name(i)
        return found

    if torch.backends.mps.is_available():
        return {"mps": "Apple (mps)"}
    return {}


def _speed(device: str) -> str:
    fp32 = matmul_rate(torch.float32, device) / 1e9
    bf16 = matmul_rate(torch.bfloat16, device) / 1e9
    pays = "bf16 pays" if bf16 >= BF16_PAYS * fp32 else "bf16 does not pay"
    return f"fp32 {fp32:,.0f} GFLOP/s, bf16 {bf16:,.0f} GFLOP/s: {pays}"
