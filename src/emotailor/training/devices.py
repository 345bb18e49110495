"""The names of devices, as people write them and as torch has them; nothing heavy is imported."""

import re

DEVICES = "auto, cpu, gpu, cuda, cuda:1 or mps"
"""What a device may be called, for messages: ``gpu`` is CUDA or MPS, whichever there is."""

_NAME = re.compile(r"auto|cpu|gpu|mps|cuda(:\d+)?")
_NUMBERED = re.compile(r"(?:gpu|cuda)[ :_-]?(\d+)")


def canonical_device(name: str) -> str:
    """Return a device as it is stored: ``GPU0``, ``gpu:0`` and ``cuda0`` are ``cuda:0``.

    Raises:
        ValueError: it is not the name of a device.
    """
    written = name.strip().lower()
    numbered = _NUMBERED.fullmatch(written)
    if numbered is not None:
        return f"cuda:{int(numbered[1])}"

    if _NAME.fullmatch(written) is None:
        raise ValueError(f"{name!r} is no device; expected {DEVICES}")
    return written
