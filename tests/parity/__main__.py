"""``python -m tests.parity CASE_DIR...``: compare with the recorded numbers of each case."""

import sys
from importlib import import_module
from pathlib import Path

from tests.parity.case import Case, CaseError, Comparison

MODELS = Path(__file__).parents[1] / "models"
SYSTEMS = sorted(file.parent.name for file in MODELS.glob("*/parity.py"))
"""Each has a module ``parity`` beside its tests with ``compare(case)``."""


def compare(case: Case) -> Comparison:
    """Run one case through the system it belongs to."""
    system = str(case.info.get("system"))
    if system.lower() not in SYSTEMS:
        raise CaseError(
            f"{case.path}: system {system!r} is not supported yet; supported: {', '.join(SYSTEMS)}"
        )
    found: Comparison = import_module(f"tests.models.{system.lower()}.parity").compare(case)
    return found


def main(arguments: list[str]) -> int:
    """Return 0 where every case agrees, 1 where one differs, 2 where one cannot be run."""
    if not arguments:
        print("usage: python -m tests.parity CASE_DIR...", file=sys.stderr)
        return 2
    status = 0
    for argument in arguments:
        try:
            comparison = compare(Case.load(Path(argument)))
        except CaseError as error:
            print(f"{argument}: {error}", file=sys.stderr)
            status = 2
            continue
        failures = comparison.failures
        print(f"{argument}: {len(comparison.rows)} compared, {len(failures)} differ")
        print(comparison.summary())
        if failures and not status:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
