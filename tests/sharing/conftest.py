"""One trained model for all tests of sharing."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model with a stored evaluation, of a data set beside it."""
    from emotailor.runs.evaluate import evaluate_run  # after the import hook
    from tests.helpers import small_dataset
    from tests.runs.runs import train_tiny

    home = tmp_path_factory.mktemp("alice")
    small_dataset(home / "data")
    folder = train_tiny(home / "data", home / "run", epochs=1)
    evaluate_run(folder, resamples=20, device="cpu")
    return folder


@pytest.fixture(scope="session")
def shared_set(shared_run: Path) -> Path:
    """The data set of that model."""
    return shared_run.parent / "data"
