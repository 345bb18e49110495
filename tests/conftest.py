"""Shape checks at run time for every test, and where the shared real data lies."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

if "PYTEST_XDIST_WORKER" in os.environ:  # one core a worker: more threads only get in the way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

install_import_hook("emotailor", "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data at {folder}, which is absent")
    return folder


@pytest.fixture(scope="session")
def shared_parity() -> Path:
    """The recorded outputs of the authors' programs; tests skip where they are absent."""
    folder = SHARED / "parity"
    if not folder.is_dir():
        pytest.skip(f"needs the parity cases at {folder}, which are absent")
    return folder
