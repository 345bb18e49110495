"""The table of all neural systems; nothing heavy is imported until one is built."""

from collections.abc import Mapping
from dataclasses import dataclass

from emotailor.config import Config
from emotailor.configs.tailor import TailorConfig
from emotailor.data.dataset import MODALITIES, Modality
from emotailor.errors import ConfigError


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        name: as given on the command line.
        title: as in the paper's Table 2.
        paper: citation.
        config: its settings; ``paper()`` and ``authors()`` are its presets.
        model: ``module:class`` of the network.
        modalities: what it can take.
    """

    name: str
    title: str
    paper: str
    config: type[Config]
    model: str
    modalities: tuple[Modality, ...]


SYSTEMS: Mapping[str, System] = {
    "tailor": System(
        name="tailor",
        title="TAILOR",
        paper="Zhang, Chen, Shen and Wang. Tailor Versatile Multi-Modal Learning for Multi-Label "
        "Emotion Recognition. AAAI 2022.",
        config=TailorConfig,
        model="emotailor.models.tailor:Tailor",
        modalities=MODALITIES,
    ),
}


def find_system(name: str) -> System:
    """Return the system of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SYSTEMS:
        raise ConfigError(f"unknown model {name!r}", expected=f"one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def available_models() -> tuple[str, ...]:
    """Return the names of all systems."""
    return tuple(SYSTEMS)
