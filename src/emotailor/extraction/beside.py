"""Work in a thread of its own, beside what goes on in this one; it never outlives its block."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from emotailor.extraction.workers import Tell

ResultT = TypeVar("ResultT")

_OFTEN = 0.2  # seconds from one look at how far the work is to the next


class _StopError(Exception):
    """Nobody waits for the work any more."""


class Beside(Generic[ResultT]):
    """A function that runs in a thread of its own while the ``with`` block does something else.

    Libraries that compute without Python's lock make use of a second core this way. When the block
    ends, for whatever reason, the function is stopped the next time that it tells how far it is.

    Args:
        work: takes what it tells how much is done, from 0 to 1.

    Attributes:
        share: how much is done.
    """

    def __init__(self, work: Callable[[Tell], ResultT]) -> None:
        self._work = work
        self._thread = threading.Thread(target=self._run, name="emotailor-beside")
        self._is_stopped = False
        self._results: list[ResultT] = []
        self._error: BaseException | None = None
        self.share = 0.0

    def __enter__(self) -> "Beside[ResultT]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped = True
        self._thread.join()

    def check(self) -> None:
        """Raise the error of the function here, if it ended with one."""
        if self._error is not None:
            raise self._error

    def result(self, on_share: Tell = lambda _: None) -> ResultT:
        """Wait for the function, and return its result.

        Args:
            on_share: takes how much is done, several times a second.

        Raises:
            Exception: that of the function.
        """
        while self._thread.is_alive():
            self._thread.join(_OFTEN)
            on_share(self.share)

        self.check()
        (result,) = self._results
        return result

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._tell))
        except _StopError:
            pass
        except BaseException as error:  # whatever it is, it belongs to whoever waits
            self._error = error

    def _tell(self, share: float) -> None:
        if self._is_stopped:
            raise _StopError
        self.share = share
