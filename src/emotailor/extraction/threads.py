"""The number of threads that others compute with, kept from a library that changes it."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@contextmanager
def threads_left_alone() -> Iterator[None]:
    """Give every OpenMP library of this process its number of threads back at the end.

    CTranslate2 sets that of the calling thread. PyTorch may share the library with it, and would
    compute with another number of threads from then on, and so to other last bits.
    """
    libraries = ThreadpoolController().select(user_api="openmp").lib_controllers
    before = [library.num_threads for library in libraries]
    try:
        yield
    finally:
        for library, threads in zip(libraries, before, strict=True):
            library.set_num_threads(threads)
