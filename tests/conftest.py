"""Shape checks at run time for every test, and where the shared real data lies."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# what a test finds must not depend on the cores, and beside other workers more would be slower
os.environ.setdefault("OMP_NUM_THREADS", "1")

# some tests import onnxruntime themselves, which sends usage data unless told not to
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

install_import_hook("emotailor", "beartype.beartype")


def _need(folder: Path, what: str) -> None:
    """Skip where the folder is absent; fail where it must be there, as in the project's own CI."""
    if not folder.is_dir():
        message = f"needs {what} at {folder}, which is absent"
        if os.environ.get("EMOTAILOR_REQUIRE_SHARED"):
            pytest.fail(message)
        pytest.skip(message)


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    folder = SHARED / "data"
    _need(folder, "the real data")
    return folder


@pytest.fixture(scope="session")
def shared_parity() -> Path:
    """The recorded outputs of the authors' programs; tests skip where they are absent."""
    folder = SHARED / "parity"
    _need(folder, "the parity cases")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored data set of a few random samples; each module has its own."""
    from tests.helpers import small_dataset  # after the import hook

    path = tmp_path_factory.mktemp("data") / "small"
    small_dataset(path)
    return path


@pytest.fixture(autouse=True)
def threads_stay() -> Iterator[None]:
    """Fail where a test leaves torch another number of threads.

    The next tests of the process would get other last bits than the programs they start.
    """
    import torch

    before = torch.get_num_threads()
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before, f"torch computes with {after} threads after the test, {before} before"


@pytest.fixture(autouse=True)
def machine_without_fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no number of a test depend on how fast this machine multiplies."""
    monkeypatch.setattr("emotailor.training.precision.bf16_gain", lambda device: 1.0)


FAST = ("nn", "evaluation", "models/test_base.py", "models/test_table.py", "test_architecture.py")
"""What `make check` runs: seconds on a laptop, and a wrong edit of most kinds is found."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the fast tests."""
    root = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(root).as_posix()
        if place.startswith(FAST) and "slow" not in item.keywords:
            item.add_marker("fast")
