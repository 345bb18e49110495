"""What is drawn from the description of the service does not break it."""

from pathlib import Path

import pytest

from emotailor.service import videos
from emotailor.service.config import Limits
from tests.service.openapi import drawn_answers
from tests.service.serving import Process, made_job, serving


@pytest.mark.filterwarnings("ignore")
def test_drawn_requests_are_answered(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred; ``python -m tests.service.openapi`` draws thousands."""
    pytest.importorskip("schemathesis")
    monkeypatch.setattr(videos, "Workers", Process)
    with serving(made_job(run, Limits(waiting=4, kept=4))) as (place, _):
        seen = drawn_answers(place, 100, 0)
        assert place.get("/health").status == 200
    assert seen.total() >= 100
    operations = {label for label, _ in seen}
    assert {"POST /v1/predict", "POST /v1/videos", "GET /v1/videos/{job_id}"} <= operations
    assert len(operations) >= 10
