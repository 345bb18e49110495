"""Building a model from its row in the table of systems."""

from collections.abc import Mapping
from importlib import import_module

from emotailor.config import Config
from emotailor.data.sample import Modality
from emotailor.models.adapters.model import Adapters, TextAdapted
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.model import align_before
from emotailor.models.base import EmotionModel
from emotailor.models.table import find_system


def model_class(name: str) -> type[EmotionModel]:
    """Return the class of a system's model."""
    model = find_system(name).model
    if not isinstance(model, str):
        return model

    place, _, attribute = model.partition(":")
    module = import_module(place)
    found: type[EmotionModel] = getattr(module, attribute)
    return found


def build_model(
    name: str,
    config: Config,
    dims: Mapping[Modality, int],
    num_labels: int,
    alignment: AlignmentConfig | None = None,
    *,
    adapters: Adapters | None = None,
) -> EmotionModel:
    """Build a model with fresh parameters (from torch's global random state).

    Args:
        name: name of the system.
        config: settings of the system.
        dims: modality -> feature width.
        num_labels: L, number of labels.
        alignment: settings of the alignment modules before the model; None, or a kind other than
            ``ctc``, for a model without them.
        adapters: of a text encoder that is trained along, before everything else.

    Raises:
        ModelError: the model cannot be put behind what is asked for.
    """
    build = model_class(name)
    model: EmotionModel = build(config, dims, num_labels)  # type: ignore[call-arg, arg-type]

    if alignment is not None and alignment.kind == "ctc":
        model = align_before(alignment, model)
    if adapters is not None:
        model = TextAdapted(adapters.config, adapters.encoder, model)
    return model
