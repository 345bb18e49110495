"""A tiny model for the tests of the service, trained once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from emotailor.service import videos
from emotailor.service.app import Service
from tests.helpers import small_dataset
from tests.runs.runs import train_tiny
from tests.service.serving import Place, Process, made_job, serving


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    home = tmp_path_factory.mktemp("service")
    small_dataset(home / "data")
    return train_tiny(home / "data", home / "run", epochs=1)


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[tuple[Place, Service]]:
    """A service with usual limits, whose videos are made up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "Workers", Process)
        with serving(made_job(run)) as both:
            yield both


@pytest.fixture(scope="module")
def place(served: tuple[Place, Service]) -> Place:
    """Where it listens."""
    return served[0]
