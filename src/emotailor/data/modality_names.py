"""What people call a modality."""

from collections.abc import Mapping, Sequence

from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ConfigError

_MODALITY_NAMES: Mapping[str, Modality] = {
    "v": "visual",
    "vision": "visual",
    "video": "visual",
    "face": "visual",
    "image": "visual",
    "a": "audio",
    "acoustic": "audio",
    "sound": "audio",
    "voice": "audio",
    "speech": "audio",
    "t": "text",
    "l": "text",
    "textual": "text",
    "language": "text",
    "words": "text",
}
"""What people and other programs call a modality -> its name."""


def parse_modalities(names: Sequence[str]) -> list[Modality]:
    """Read names of modalities, as others write them too, or their initials.

    Raises:
        ConfigError: a name is unknown.
    """
    known: dict[str, Modality] = {m: m for m in MODALITIES}
    known.update(_MODALITY_NAMES)
    found = []
    unknown = []
    for name in names:
        modality = known.get(name.strip().lower())
        if modality is None:
            unknown.append(repr(name))
        else:
            found.append(modality)

    if unknown:
        raise ConfigError(
            f"unknown modality {', '.join(unknown)}",
            expected=f"some of {', '.join(MODALITIES)}, or v, a, t, separated by commas",
        )
    return found
