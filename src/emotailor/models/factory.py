"""Building a network from its row in the table of systems."""

from collections.abc import Mapping
from importlib import import_module

from emotailor.config import Config
from emotailor.configs.systems import find_system
from emotailor.data.dataset import Modality
from emotailor.models.base import EmotionModel


def build_model(
    name: str, config: Config, dims: Mapping[Modality, int], num_labels: int
) -> EmotionModel:
    """Build a network with fresh parameters (from torch's global random state)."""
    module, _, attribute = find_system(name).model.partition(":")
    model: EmotionModel = getattr(import_module(module), attribute)(config, dims, num_labels)
    return model
