"""How much memory a file may ask for, compared with its own size."""

import pickle

_COPIES = 4
_SPARE = 16 * 2**20
_MOST_OBJECTS = 10_000_000
_MOST_TUPLE_KEYS = 30_000


class NotPlainError(pickle.UnpicklingError):
    """A file is intact, but holds something other than plain data."""


class Budget:
    """What is left of the memory that a file may ask for.

    A pickle can name one thing again and again in two bytes, and ask for a copy each time. What a
    file really holds is no larger than the file.

    Args:
        size: bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._bytes = _COPIES * size + _SPARE
        self._objects = _MOST_OBJECTS
        self._tuple_keys = _MOST_TUPLE_KEYS

    def spend_bytes(self, count: int) -> None:
        """Account for ``count`` bytes that are made from something that was read.

        Raises:
            UnpicklingError: the file has asked for more than it can honestly hold.
        """
        self._bytes -= count
        if self._bytes < 0:
            raise pickle.UnpicklingError(f"it asks for far more data than its {self.size} bytes")

    def spend_objects(self, count: int = 1) -> None:
        """Account for ``count`` small objects, each of about 100 bytes.

        Raises:
            UnpicklingError: there are more than any data have.
        """
        self._objects -= count
        if self._objects < 0:
            raise pickle.UnpicklingError(f"it makes more than {_MOST_OBJECTS} lists and names")

    def spend_tuple_key(self) -> None:
        """Account for a tuple of numbers as a key; a forger can give all of them one hash.

        Raises:
            UnpicklingError: there are so many that a dictionary of them would be slow.
        """
        self._tuple_keys -= 1
        if self._tuple_keys < 0:
            raise pickle.UnpicklingError(f"more than {_MOST_TUPLE_KEYS} tuples as keys")
