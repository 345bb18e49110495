"""Settings of a run: which data, which system, how it is trained."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, model_validator

from emotailor.config import Config, merge
from emotailor.data.card import DatasetCard
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ConfigError
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.system import Preset
from emotailor.models.table import find_system, use_system
from emotailor.training.config import TrainingConfig
from emotailor.training.recipe import find_card, recipe, training_samples


class DataConfig(Config):
    """What a system is trained on."""

    path: str = Field(min_length=1)  # the data set, given by --data
    # a subset, such as --modalities visual,text or v,t; none: all that the data set has
    modalities: tuple[Modality, ...] | None = None
    # file with a word vector for each label (.npz, or lines as GloVe's), for systems that start
    # from such vectors: LSAN, ML-GCN
    label_vectors: str | None = None
    # features to mean 0 and deviation 1 of the training split, clipped at ±10; constant features
    # become 0; the preset authors sets false
    standardize: bool = True
    # split that is trained on; must be train with standardize, whose statistics are of that split
    train_split: str = "train"
    valid_split: str = "valid"  # split that is validated on

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        chosen = self.modalities
        if chosen is not None and (not chosen or len(set(chosen)) != len(chosen)):
            raise ValueError(f"modalities must be some of {', '.join(MODALITIES)}, each once")
        return self


class RunConfig(Config):
    """Everything that determines a run (``config.json``)."""

    system: str = "tailor"
    data: DataConfig
    model: Annotated[Config, SerializeAsAny()]
    training: TrainingConfig = TrainingConfig()
    alignment: AlignmentConfig = AlignmentConfig()

    @model_validator(mode="before")
    @classmethod
    def _parse_model(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values

        name = str(values.get("system", "tailor"))
        row = find_system(name)
        model = values.get("model", {})

        # settings may come as a table, or as an object of the system's class
        if not isinstance(model, Config):
            model = row.config.parse(model, prefix="model.")
        elif not isinstance(model, row.config):
            raise ConfigError(
                f"model: settings of the class {type(model).__name__}",
                expected=f"a {row.config.__name__}, or a table of settings, for {row.title}",
            )

        return {**values, "model": model}

    @classmethod
    def build(
        cls,
        *layers: Mapping[str, Any],
        system: str | type[Any] = "tailor",
        preset: Preset = "paper",
        aligned: bool = True,
        samples: int | None = None,
    ) -> "RunConfig":
        """Start from a preset and lay nested settings over it; later layers win.

        Args:
            layers: nested settings.
            system: name of the system, or the class of a system of your own.
            preset: where settings that no layer has come from.
            aligned: whether the data are word-aligned; some recipes differ where they are not.
            samples: number of training samples, which the preset ``tuned`` goes by; None where it
                is not known.

        Raises:
            ConfigError: unknown system or key, or a value out of range.
        """
        row = find_system(system) if isinstance(system, str) else use_system(system)
        given = merge(*layers)

        model = row.preset(preset)
        training = recipe(
            row.name, preset, aligned=aligned, samples=samples, given=_table(given, "training")
        )
        alignment: AlignmentConfig = getattr(AlignmentConfig, preset)()
        base = {
            "system": row.name,
            "model": model.to_json(),
            "training": training.to_json(),
            "alignment": alignment.to_json(),
            "data": {"standardize": preset != "authors"},
        }

        values = merge(base, given)
        return cls.parse(values)

    @classmethod
    def for_data(
        cls,
        *layers: Mapping[str, Any],
        system: str | type[Any] = "tailor",
        preset: Preset = "tuned",
        card: DatasetCard | None = None,
    ) -> "RunConfig":
        """Build the settings of a run on a stored data set, by the recipe that suits its size.

        Args:
            layers: nested settings, with ``data.path``.
            system: as for ``build``.
            preset: as for ``build``.
            card: of the data set, where it has been read already.

        Raises:
            ConfigError: as ``build``.
        """
        of_data = _table(merge(*layers), "data")
        path = of_data.get("path")
        known = card
        if card is None and isinstance(path, str):
            known = find_card(path)
        if known is None:
            return cls.build(*layers, system=system, preset=preset)

        split = str(of_data.get("train_split", "train"))
        return cls.build(
            *layers,
            system=system,
            preset=preset,
            aligned=known.aligned,
            samples=training_samples(known, split),
        )


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table inside settings that are not checked yet; empty where it is none."""
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
