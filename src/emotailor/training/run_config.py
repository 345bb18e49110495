"""Settings of a run: which data, which system, how it is trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, model_validator

from emotailor.config import NONE, Config, merge
from emotailor.data.card import DatasetCard
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ConfigError
from emotailor.meant import Keys, unknown_setting
from emotailor.models.adapters.config import AdapterConfig
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.system import Preset, System
from emotailor.models.table import SYSTEMS, find_system, use_system
from emotailor.shipped.find import meant_by
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
    adapters: AdapterConfig = AdapterConfig()

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
            raise _wrong_class("model", model, row.config, row)

        return {**values, "system": row.name, "model": model}

    @classmethod
    def parse(
        cls, values: Any, source: str = "the configuration", *, prefix: str = ""
    ) -> "RunConfig":
        """Validate ``values``, and say which setting is meant where a key is none.

        Raises:
            ConfigError: naming every wrong key, its value and what would be right.
        """
        if isinstance(values, Mapping):
            row = find_system(str(values.get("system", "tailor")))
            check_keys(values, row, source)
        return super().parse(values, source, prefix=prefix)

    @classmethod
    def build(
        cls,
        *layers: Mapping[str, Any],
        system: str | type[Any] | None = None,
        preset: Preset = "paper",
        aligned: bool = True,
        samples: int | None = None,
        kept: Path | None = None,
    ) -> "RunConfig":
        """Start from a preset and lay nested settings over it; later layers win.

        Args:
            layers: nested settings: tables, or objects of the classes of ``RunConfig``'s fields.
            system: name of the system, or the class of a system of your own; by default what the
                layers say, or TAILOR.
            preset: where settings that no layer has come from.
            aligned: whether the data are word-aligned; some recipes differ where they are not.
            samples: number of training samples, which the preset ``tuned`` goes by; None where it
                is not known.
            kept: copy of what the run starts from, to be read in the place of that.

        Raises:
            ConfigError: unknown system or key, a value out of range, or settings that are
                another system's.
        """
        row = _system_of(layers, system)
        given = merge(*[_as_tables(layer, row) for layer in layers])

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

        values = merge(base, _of_start(given, row, kept), given)
        return cls.parse(values)

    @classmethod
    def for_data(
        cls,
        *layers: Mapping[str, Any],
        system: str | type[Any] | None = None,
        preset: Preset = "tuned",
        card: DatasetCard | None = None,
        kept: Path | None = None,
    ) -> "RunConfig":
        """Build the settings of a run on a stored data set, by the recipe that suits its size.

        Args:
            layers: nested settings, with ``data.path``.
            system: as for ``build``.
            preset: as for ``build``.
            card: of the data set, where it has been read already.
            kept: as for ``build``.

        Raises:
            ConfigError: as ``build``.
        """
        row = _system_of(layers, system)
        given = merge(*[_as_tables(layer, row) for layer in layers])
        of_data = _table(given, "data")
        path = of_data.get("path")
        known = card
        if card is None and isinstance(path, str):
            known = find_card(path)
        if known is None:
            return cls.build(given, system=row.name, preset=preset, kept=kept)

        split = str(of_data.get("train_split", "train"))
        return cls.build(
            given,
            system=row.name,
            preset=preset,
            aligned=known.aligned,
            samples=training_samples(known, split),
            kept=kept,
        )


def _system_of(layers: Sequence[Mapping[str, Any]], system: str | type[Any] | None) -> System:
    """Return the system that the caller names, or that the layers do.

    Raises:
        ConfigError: there is none of that name, or the two differ.
    """
    named = merge(*layers).get("system")
    if system is None:
        return find_system("tailor" if named is None else str(named))

    row = find_system(system) if isinstance(system, str) else use_system(system)
    if named is not None and find_system(str(named)).name != row.name:
        raise ConfigError(
            f"the settings are for the system {named!r}, and the system is {row.name!r}",
            expected="the same system twice",
            fix="leave one of the two out",
        )
    return row


def _of_start(given: Mapping[str, Any], row: System, kept: Path | None) -> dict[str, Any]:
    """Return the settings of the model that a training starts from, whose weights fit no others.

    Its text encoder has been trained along already, so it is from the first update on.

    Args:
        given: settings by the user.
        row: the system that is to be trained.
        kept: copy of that model in the run folder.

    Raises:
        ModelError: there is no such model.
    """
    start = _table(given, "training").get("start_from")
    if not isinstance(start, str) or start in NONE:
        return {}

    # the card of a model is read where it is needed alone: it needs torch
    from emotailor.training.model_folder import find_model_folder, read_model_card

    folder = find_model_folder(kept or meant_by(start))
    card = read_model_card(folder)
    found: dict[str, Any] = {}
    if card.system == row.name:
        found["model"] = card.config
    if card.adapters.rank:
        found["adapters"] = {**card.adapters.to_json(), "start": 0.0}
    return found


def _as_tables(layer: Mapping[str, Any], row: System) -> dict[str, Any]:
    """Return settings as nested tables, with those that are objects of a class turned into such.

    Raises:
        ConfigError: an object is of another class than its place needs.
    """
    classes: dict[str, type[Config]] = {
        "model": row.config,
        "training": TrainingConfig,
        "alignment": AlignmentConfig,
        "adapters": AdapterConfig,
        "data": DataConfig,
    }
    found = dict(layer)
    for name, wanted in classes.items():
        value = layer.get(name)
        if not isinstance(value, Config):
            continue

        if not isinstance(value, wanted):
            raise _wrong_class(name, value, wanted, row)
        found[name] = value.to_json()
    return found


def _wrong_class(name: str, value: Config, wanted: type[Config], row: System) -> ConfigError:
    """Return what to say of settings of another class than their place needs."""
    expected = f"a {wanted.__name__}, or a table of settings"
    if name == "model":
        expected += f", for {row.title}"
    return ConfigError(f"{name}: settings of the class {type(value).__name__}", expected=expected)


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table inside settings that are not checked yet; empty where it is none."""
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


KEPT_START = "start"
"""Folder in a run folder that keeps what the run started from."""

SETTINGS_OF_ALL: Keys = {
    "training": tuple(TrainingConfig.model_fields),
    "data": tuple(DataConfig.model_fields),
    "alignment": tuple(AlignmentConfig.model_fields),
    "adapters": tuple(AdapterConfig.model_fields),
}
"""Table -> the settings in it that every system has."""


def settings_of(row: System) -> Keys:
    """Return all settings of a run of a system, by table."""
    return {"model": tuple(row.config.model_fields), **SETTINGS_OF_ALL}


def other_owners(setting: str) -> list[str]:
    """Return the titles of the systems whose model has a setting of this name."""
    return [row.title for row in SYSTEMS.values() if setting in row.config.model_fields]


def check_keys(values: Mapping[str, Any], row: System, source: str) -> None:
    """Refuse keys that are no settings of a run, and name the settings that they may mean.

    Args:
        values: nested settings.
        row: the system.
        source: where they come from, for messages.

    Raises:
        ConfigError: naming every such key.
    """
    keys = settings_of(row)
    found = []
    expected = []
    for table, given in values.items():
        for name, value in _unknown_in(table, given, keys):
            key = name if table == name else f"{table}.{name}"
            found.append(f"{key} = {value!r:.200} is not a setting")
            here = table if table in keys else None
            expected.append(unknown_setting(name, here, keys, other_owners))

        if table in keys and not isinstance(given, Mapping | Config):
            example = f"{table}.{keys[table][0]}" if keys[table] else table
            found.append(f"{table} = {given!r:.200}")
            expected.append(f"a table of settings, such as {example}=VALUE")
    if found:
        right = dict.fromkeys(expected)
        raise ConfigError(f"{source}: {'; '.join(found)}", expected="; ".join(right))


def _unknown_in(table: str, given: Any, keys: Keys) -> list[tuple[str, Any]]:
    """Return the names, with their values, of what is no setting in one table."""
    if table == "system":
        return []
    if table in keys:
        inner = given if isinstance(given, Mapping) else {}
        return [(name, value) for name, value in inner.items() if name not in keys[table]]

    # a value without a table, or a table of another name; a table of tables is a system's
    if not isinstance(given, Mapping) or not given:
        return [(table, given)]
    if keys.keys() & given.keys():
        return []
    return list(given.items())
