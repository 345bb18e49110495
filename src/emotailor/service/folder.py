"""The folder of uploads: of this process alone, and gone with it."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from emotailor.errors import ConfigError
from emotailor.files import private_folder

NAME = "emotailor-uploads"


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Yield a private folder among the temporary files.

    Those of services that were killed are removed before; of one that still runs, nothing is.

    Raises:
        ConfigError: nothing can be written there.
    """
    place = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder(place, NAME))
        except OSError as error:
            raise ConfigError(
                f"no folder for uploads in {place}: {error.strerror or error}",
                expected="a folder for temporary files that can be written to",
                fix="name another one: TMPDIR=DIR",
            ) from error
        yield folder
