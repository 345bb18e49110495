"""``python -m tests.parity CASE_DIR...``: compare with the recorded numbers of each case."""

import sys
from pathlib import Path

from tests.parity.case import Case, CaseError
from tests.parity.systems import compare


def main(arguments: list[str]) -> int:
    """Return 0 where every case agrees, 1 where one differs, 2 where one cannot be run."""
    if not arguments:
        print("usage: python -m tests.parity CASE_DIR...", file=sys.stderr)
        return 2

    refused = False
    different = False
    for argument in arguments:
        try:
            comparison = compare(Case.load(Path(argument)))
        except CaseError as error:
            print(f"{argument}: {error}", file=sys.stderr)
            refused = True
            continue

        failures = comparison.failures
        print(f"{argument}: {len(comparison.rows)} compared, {len(failures)} differ")
        for note in comparison.notes:
            print(f"  note: {note}")
        print(comparison.summary())
        different = different or bool(failures)

    if refused:
        return 2
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
