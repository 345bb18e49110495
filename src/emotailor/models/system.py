"""What the table of systems knows of one system; nothing heavy is imported until one is built."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from emotailor.config import Config
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ConfigError

Preset = Literal["tuned", "paper", "authors"]
"""Whose settings: ours, tuned on validation data; the paper's; those of the authors' program."""

PRESETS: tuple[Preset, ...] = get_args(Preset)

Setting = Literal["aligned", "unaligned"]
Settings = Mapping[str, Any]
Recipes = Mapping[Preset, Settings]

PUBLISHED_METRICS = ("accuracy", "micro_precision", "micro_recall", "micro_f1")
"""The columns of Table 2 of TAILOR (AAAI 2022)."""


FULL = "full"
"""Name of the variant that changes nothing; the others are compared with it."""


@dataclass(frozen=True)
class Variant:
    """One row of a table of ablations: a system with something switched.

    Attributes:
        name: the name on the command line.
        title: the title in the table.
        changes: the settings that it changes; empty for the full model.
        why: what is left, where the title alone does not say it.
        published: metric -> the number that a paper printed; empty where there is none.
    """

    name: str
    title: str
    changes: Settings = field(default_factory=dict)
    why: str = ""
    published: Mapping[str, float] = field(default_factory=dict)

    def apply(self, config: Config) -> Config:
        """Return the settings of the variant.

        Args:
            config: settings of the full model.

        Raises:
            ConfigError: the system has no such setting, or a value is out of range.
        """
        return config.replace(**self.changes)

    def why_full(self, config: Config, modalities: Iterable[Modality]) -> str:
        """Say why the variant is the full model itself on some data; empty where it is not.

        Args:
            config: settings of the full model.
            modalities: modalities of the data.
        """
        if self.changes and self.apply(config) == config:
            return "the full model has these settings already"
        return ""


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        name: as given on the command line.
        title: as in the paper's Table 2.
        paper: citation.
        config: its settings; ``tuned()``, ``paper()`` and ``authors()`` are its presets.
        model: the class of the model, or where it stands as ``module:class``.
        recipes: preset -> training settings in which it departs from the defaults.
        modalities: what it can take, and takes by default.
        required: those it cannot do without.
        at_least: how many it needs.
        unaligned: preset -> training settings that unaligned data change further.
        reads_unaligned: takes unaligned sequences itself by the protocol of the paper's Table 2,
            where the others have a CTC alignment module before them.
        published: setting -> its numbers in Table 2 of TAILOR, in the order of
            ``PUBLISHED_METRICS``; empty where it is not in that table.
        rule: letter of the rule by which its published numbers were chosen, see
            ``evaluation/protocols.py``; by default that of TAILOR's program, whose authors made the
            table.
        search: settings of the model worth trying; a search draws one of each list.
        tiny: settings that make the smallest model for a quick trial; sizes are all different.
        variants: name -> what `emotailor ablate` switches in the model.
        code: for a system from outside the package, what a new process is told to load it:
            ``module:class`` or ``path/to/file.py:class``. None for all others.
    """

    name: str
    title: str
    paper: str
    config: type[Config]
    model: str | type[Any]
    recipes: Recipes = field(default_factory=dict)
    modalities: tuple[Modality, ...] = MODALITIES
    required: tuple[Modality, ...] = ()
    at_least: int = 1
    unaligned: Recipes = field(default_factory=dict)
    reads_unaligned: bool = False
    published: Mapping[Setting, tuple[float, ...]] = field(default_factory=dict)
    rule: str = "e"
    search: Sequence[Sequence[Settings]] = ()
    tiny: Settings = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    code: str | None = None

    @property
    def folder(self) -> str:
        """The name as a folder: ``my_package.my_module:MyModel`` becomes ``MyModel``."""
        last = self.name.rpartition(":")[2]
        return re.sub(r"[^\w.-]", "_", last)

    def preset(self, preset: Preset) -> Config:
        """Return the settings of a preset; a system without it has its defaults."""
        make = getattr(self.config, preset, self.config)
        settings: Config = make()
        return settings

    @property
    def needs(self) -> str:
        """What it must be given: ``at least 2 of visual, audio, text, with text``."""
        need = f"at least {self.at_least} of {', '.join(self.modalities)}"
        if self.modalities == self.required:
            return ", ".join(self.required)
        if self.required:
            need += f", with {', '.join(self.required)}"
        return need

    def usable(self, given: Iterable[Modality]) -> tuple[Modality, ...]:
        """Return the modalities that it can take of those given; none where they are too few."""
        shared = tuple(m for m in given if m in self.modalities)
        lacking = [m for m in self.required if m not in shared]
        if lacking or len(shared) < self.at_least:
            return ()
        return shared

    def choose(
        self, there: Mapping[Modality, int], wanted: tuple[Modality, ...] | None
    ) -> dict[Modality, int]:
        """Return the modalities to use, with their widths, in the order v, a, t.

        Args:
            there: modality -> feature width, of a data set.
            wanted: by the user; None for all that data set and system share.

        Raises:
            ConfigError: they are not there, or the system cannot work with them.
        """
        shared = [m for m in self.modalities if m in there]
        chosen = wanted or tuple(shared)
        listed = ", ".join(there)

        absent = [m for m in chosen if m not in there]
        if absent:
            raise ConfigError(
                f"the data set has no {', '.join(absent)}",
                expected=f"some of its modalities: {listed}",
                fix="choose others with --modalities",
            )

        refused = [m for m in chosen if m not in self.modalities]
        missing = [m for m in self.required if m not in chosen]
        if refused or missing or len(chosen) < self.at_least:
            found = ", ".join(chosen) or "none of them"
            raise ConfigError(
                f"{self.title} is to take {found} (the data set has {listed})",
                expected=self.needs,
                fix="choose other --modalities, data that have them, or another system",
            )

        return {m: there[m] for m in MODALITIES if m in chosen}


def transformer_sizes(width: int, layers: int) -> Settings:
    """Return sizes of a system that encodes each modality by a Transformer, for a search."""
    names = ("visual_layers", "audio_layers", "text_layers")
    return {
        "hidden_size": width,
        "feedforward_size": 2 * width,
        "heads": 4,
        "initial_std": 0.1 if width < 128 else 0.05,
        **dict.fromkeys(names, layers),
    }
