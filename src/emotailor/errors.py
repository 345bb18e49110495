"""Errors a user can act on, and the exit code each one ends the command line with.

Every message has the same three parts: what was found, what was expected, what to do.
"""

from typing import Any, ClassVar

from emotailor.text import indented


class EmotailorError(Exception):
    """Something the user gave cannot be used; printed without a traceback.

    Args:
        found: what is wrong, with the offending value and where it is.
        expected: what would have been right.
        fix: what the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, found: str, *, expected: str | None = None, fix: str | None = None) -> None:
        self.found = found
        self.expected = expected
        self.fix = fix

        # a file may have put a line break into any of them
        parts = [indented(found)]
        if expected:
            parts.append(f"  expected: {indented(expected)}")
        if fix:
            parts.append(f"  to fix it: {indented(fix)}")
        super().__init__("\n".join(parts))

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how another process makes it again: pickle would lose what it is made of."""
        return _restored, (type(self), vars(self), self.args)


def _restored(
    kind: type[EmotailorError], values: dict[str, Any], args: tuple[Any, ...]
) -> EmotailorError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(values)
    return error


class ConfigError(EmotailorError):
    """A configuration key is unknown or its value is out of range (exit code 3)."""

    exit_code: ClassVar[int] = 3


class DataError(EmotailorError):
    """A data file is missing, damaged or not what it is said to be (exit code 4)."""

    exit_code: ClassVar[int] = 4


class ModelError(EmotailorError):
    """A model folder or checkpoint is missing, damaged or does not fit the data (exit code 5)."""

    exit_code: ClassVar[int] = 5


class TooLongError(ModelError):
    """A sequence has more steps than the model can take (exit code 5).

    Args:
        found: as in the base class.
        most: the most steps that the model can take.
        expected: as in the base class.
        fix: as in the base class.
    """

    def __init__(self, found: str, *, most: int, expected: str, fix: str) -> None:
        super().__init__(found, expected=expected, fix=fix)
        self.most = most


class InterruptedRunError(EmotailorError):
    """A signal stopped the training; a checkpoint was saved (exit code 130)."""

    exit_code: ClassVar[int] = 130


def first_of_several(first: EmotailorError, found: str) -> EmotailorError:
    """Return one error for several, with the exit code and the advice of the first.

    Args:
        first: the error of the first.
        found: what is wrong with it, and how many more there are.
    """
    kind = ModelError if isinstance(first, ModelError) else DataError
    return kind(found, expected=first.expected, fix=first.fix)
