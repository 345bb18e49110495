"""Requests that are drawn from the description of the service, right ones and wrong ones.

    PYTHONPATH=. python -m tests.service.openapi --cases 5000

No answer may be of the kind 5xx, but 503 and 507, which say that there is no room. A service of a
tiny model is made for it, whose videos nobody extracts; it listens on this machine alone.
"""

import argparse
import tempfile
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from emotailor.service import videos
from emotailor.service.config import Limits
from tests.service.serving import Place, Process, made_job, serving

ROOM = (503, 507)
MOST_TURNS = 20
"""Some operations have few different requests: then there are several turns."""


def drawn_answers(place: Place, cases: int, seed: int) -> Counter[tuple[str, int]]:
    """Send drawn requests, and count the answers by operation and status.

    Args:
        place: of the service.
        cases: how many, about.
        seed: of all that is drawn.

    Raises:
        AssertionError: an answer says that the service failed, or has not the shape of an error.
    """
    import hypothesis
    import schemathesis
    from schemathesis.generation import GenerationMode

    described = place.get("/openapi.json").json
    schema = schemathesis.openapi.from_dict(described)
    found: Any = schema.get_all_operations()
    operations = [one.ok() for one in found]
    seen: Counter[tuple[str, int]] = Counter()
    share = max(cases // (2 * len(operations)), 1)

    for turn in range(MOST_TURNS):
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

                @hypothesis.seed(seed + turn)
                @hypothesis.settings(
                    max_examples=share,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                    phases=[hypothesis.Phase.generate],
                )
                @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
                def ask(case: Any) -> None:
                    answer = case.call(base_url=f"http://127.0.0.1:{place.port}", timeout=30)
                    label = f"{case.method} {case.path}"
                    seen[label, answer.status_code] += 1
                    assert answer.status_code < 500 or answer.status_code in ROOM, (label, case)
                    if answer.status_code >= 400 and case.method != "HEAD":
                        assert set(answer.json()) == {"error"}, (label, case)

                # an operation without parameters has nothing that could be wrong
                with suppress(hypothesis.errors.Unsatisfiable):
                    ask()
        if seen.total() >= cases:
            break
    return seen


def main() -> None:
    """Draw, and print what was answered."""
    from tests.helpers import small_dataset
    from tests.runs.runs import train_tiny

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    vars(videos).update(Workers=Process)
    with tempfile.TemporaryDirectory() as home:
        small_dataset(Path(home) / "data")
        run = train_tiny(Path(home) / "data", Path(home) / "run", epochs=1)
        with serving(made_job(run, Limits(waiting=4, kept=4))) as (place, _):
            seen = drawn_answers(place, given.cases, given.seed)
    for (label, status), count in sorted(seen.items()):
        print(f"{count:6,} {status} {label}")
    print(f"{seen.total():6,} in all, none of them a failure of the service")


if __name__ == "__main__":
    main()
