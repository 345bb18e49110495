"""Settings of a comparison of systems: those of all, those of one, and which of them win."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emotailor.comparison.plan import use_systems
from emotailor.config import parse_overrides, read_toml
from emotailor.data.card import DatasetCard
from emotailor.errors import ConfigError
from emotailor.meant import question, settings_meant
from emotailor.models.system import Preset, System
from emotailor.models.table import SYSTEMS
from emotailor.training.run_config import SETTINGS_OF_ALL, RunConfig


def chosen_systems(models: Sequence[str | type[Any] | System]) -> list[System]:
    """Return the chosen systems: those of the package in the order of the table, then others."""
    wanted: list[str | type[Any] | System] = []
    for model in models:
        name = model.strip() if isinstance(model, str) else model
        if name == "all":
            wanted += SYSTEMS
        else:
            wanted.append(name)

    if not wanted:
        ours = ", ".join(SYSTEMS)
        raise ConfigError("no systems to compare", expected=f"some of {ours}, or all")

    # a system that is named twice is compared once
    chosen = {row.name: row for row in use_systems(wanted)}
    own = [chosen[name] for name in SYSTEMS if name in chosen]
    others = [row for name, row in chosen.items() if name not in SYSTEMS]
    return own + others


Layers = Callable[[System], list[Mapping[str, Any]]]
"""System -> its tables of settings; later ones win."""


def settings_layers(
    config_file: Path | None, settings: Sequence[str], rows: Sequence[System]
) -> Layers:
    """Read the settings once; return what gives those of a system, the ones that win last."""
    # a system of others may be called by its class alone
    owners = {name: name for name in ("all", *SYSTEMS)}
    for row in rows:
        owners.setdefault(row.folder, row.name)
        owners[row.name] = row.name

    from_file = read_toml(config_file) if config_file else {}
    from_settings = _read_settings(settings)
    tables = [
        _by_owner(from_file, str(config_file), owners),
        _by_owner(from_settings, "--set", owners),
    ]

    def layers(row: System) -> list[Mapping[str, Any]]:
        found = []
        for table in tables:
            found.append(table.get("all", {}))
            found.append(table.get(row.name, {}))
        return found

    return layers


def _read_settings(settings: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the settings of each owner: ``KEY=VALUE`` is of all, ``SYSTEM:KEY=VALUE`` of one."""
    given: dict[str, list[str]] = {}
    for item in settings:
        key, equals, value = item.partition("=")

        # the name of a system of others has a colon of its own
        system, colon, inner = key.rpartition(":")
        owner = system.strip() if colon else "all"
        override = f"{inner}{equals}{value}"
        given.setdefault(owner, []).append(override)

    return {owner: parse_overrides(overrides) for owner, overrides in given.items()}


def _by_owner(
    tables: Mapping[str, Any], where: str, owners: Mapping[str, str]
) -> dict[str, Mapping[str, Any]]:
    """Return the checked tables by the full names of their systems."""
    found: dict[str, Mapping[str, Any]] = {}
    for owner, values in tables.items():
        _check_layer(owner, values, where, owners)
        name = owners[owner]
        found[name] = values
    return found


def _check_layer(owner: str, values: Any, where: str, owners: Mapping[str, str]) -> None:
    """Refuse settings of nobody, and those that would make the runs no comparison."""
    if owner not in owners:
        raise ConfigError(
            f"{where}: settings for {owner!r}, which is no system here",
            expected=_nearest(owner, owners),
            fix="in a file one table per system, with --set SYSTEM:model.KEY=VALUE",
        )
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {owner} = {values!r}", expected="a table of settings")

    # a key of one model means nothing to the others
    strange = sorted(set(values) - set(SETTINGS_OF_ALL))
    if owner == "all" and strange:
        meant = settings_meant(strange[0], None, SETTINGS_OF_ALL)
        if meant:
            found = f"{where}: {strange[0]} = {values[strange[0]]!r} is not a setting"
            raise ConfigError(found, expected=question(meant))
        raise ConfigError(
            f"{where}: {', '.join(strange)} for all systems",
            expected="training.*, data.*, alignment.* or adapters.*; models have their own",
            fix="name the system: --set tailor:model.hidden_size=128",
        )

    for table in ("model", *SETTINGS_OF_ALL):
        given = values.get(table, {})
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"{where}: {table} = {given!r} of {owner}", expected="a table of settings"
            )
    _check_reserved(owner, values, where)


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return a question for the name that may be meant, or all names."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return ", ".join(names)


def _check_reserved(owner: str, values: Mapping[str, Any], where: str) -> None:
    """Refuse what an option gives to all systems."""
    given = {
        "system": "system" in values,
        "data.path": "path" in values.get("data", {}),
        "training.seed": "seed" in values.get("training", {}),
    }
    options = {"system": "--models", "data.path": "--data", "training.seed": "--seed"}
    for key, is_given in given.items():
        if is_given:
            raise ConfigError(
                f"{where}: {key} of {owner}",
                expected="the same for all systems",
                fix=f"give it with {options[key]}",
            )


def build_config(
    name: str,
    preset: Preset,
    layers: Sequence[Mapping[str, Any]],
    seed: int,
    *,
    card: DatasetCard | None,
) -> RunConfig:
    """Return the settings of one run; an error names the system."""
    # the last layer wins: no file can change these
    own = {"system": name, "training": {"seed": seed}}
    try:
        return RunConfig.for_data(*layers, own, system=name, preset=preset, card=card)
    except ConfigError as error:
        raise ConfigError(
            f"{name}: {error.found}", expected=error.expected, fix=error.fix
        ) from error


def for_system(fixed: Mapping[str, Any], row: System) -> dict[str, Any]:
    """Return the settings of all, with those of the modalities that a system can take.

    A system that can take none of them keeps all, and is left out, which the plan explains.
    """
    of_data = dict(fixed["data"])
    usable = row.usable(of_data.get("modalities", ()))
    if usable:
        of_data["modalities"] = usable
    return {**fixed, "data": of_data}
