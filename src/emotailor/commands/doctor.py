"""What this machine has for the work: versions, devices, speed."""

import importlib.util
import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.table import Table

from emotailor import __version__

NEEDED = ("torch", "accelerate", "numpy", "safetensors", "h5py", "scikit-learn", "pydantic")


def matmul_rate(dtype: torch.dtype, device: str, size: int = 1024, repeats: int = 5) -> float:
    """Return the rate of a square matrix product in GFLOP/s (median of ``repeats``)."""
    matrix = torch.randn(size, size, device=device).to(dtype)
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        product = matrix @ matrix
        product.flatten()[0].item()  # waits for the device
        seconds.append(time.perf_counter() - started)

    measured = sorted(seconds[1:])  # the first one includes the start of the library
    median = measured[repeats // 2]
    operations = 2 * size**3
    return operations / median / 1e9


def examine() -> tuple[bool, Table]:
    """Return whether everything needed is there, and a table of what was found."""
    table = Table(title=f"emotailor {__version__}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")

    healthy = True
    for package in NEEDED:
        try:
            table.add_row(package, version(package))
        except PackageNotFoundError:
            healthy = False
            table.add_row(package, "[red]missing[/red]: pip install emotailor")

    table.add_row("CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads for torch")
    accelerators = _accelerators()
    gpus = ", ".join(accelerators.values())
    table.add_row("GPU", gpus or "none; training runs on the CPU")
    for device in ("cpu", *accelerators):
        table.add_row(f"matrix product on {device}", _speed(device))

    free = shutil.disk_usage(Path.cwd()).free / 2**30
    table.add_row("free disk here", f"{free:.1f} GiB")
    has_pytest = importlib.util.find_spec("pytest") is not None
    table.add_row("test tools", "installed" if has_pytest else "not installed (extra: dev)")
    return healthy, table


def _accelerators() -> dict[str, str]:
    """Return the devices beside the CPU, and what they are called."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(count)}
    if torch.backends.mps.is_available():
        return {"mps": "Apple (mps)"}
    return {}


def _speed(device: str) -> str:
    fp32 = matmul_rate(torch.float32, device)
    bf16 = matmul_rate(torch.bfloat16, device)
    pays = "bf16 pays" if bf16 > 1.5 * fp32 else "bf16 does not pay"
    return f"fp32 {fp32:,.0f} GFLOP/s, bf16 {bf16:,.0f} GFLOP/s: {pays}"
