"""The ablations of TAILOR: the twelve rows of Table 3 (AAAI 2022) as changes of TailorConfig."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emotailor.data.sample import Modality
from emotailor.errors import ConfigError
from emotailor.models.system import PUBLISHED_METRICS
from emotailor.models.tailor.config import TailorConfig

FULL = "full"
"""The variant that switches nothing; the others are compared with it."""


@dataclass(frozen=True)
class Ablation:
    """One row of Table 3.

    Attributes:
        name: as given on the command line.
        title: as in the table.
        numbers: as printed there, for aligned CMU-MOSEI; in the order of ``PUBLISHED_METRICS``.
        changes: the one switch it turns, by field of TailorConfig; empty for the full model.
        why: what is left, where the title alone does not say it.
    """

    name: str
    title: str
    numbers: tuple[float, float, float, float]
    changes: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def published(self) -> dict[str, float]:
        """Metric -> number in the table."""
        return dict(zip(PUBLISHED_METRICS, self.numbers, strict=True))

    def apply(self, config: TailorConfig) -> TailorConfig:
        """Return the variant of a full model.

        Raises:
            ConfigError: the model is not the full one.
        """
        check_full(config)
        return config.replace(**self.changes)

    def why_full(self, config: TailorConfig, modalities: Iterable[Modality]) -> str:
        """Say why the variant of a full model is that model itself on some data, or nothing.

        Args:
            config: of the full model.
            modalities: of the data.
        """
        if "fusion_order" not in self.changes:
            return ""
        there = {*modalities, "common"}
        orders = [config.fusion_order, self.apply(config).fusion_order]
        full, own = ([block for block in order if block in there] for order in orders)
        return f"on these data it is the full model: {', '.join(own)}" if own == full else ""


_ROWS = (
    Ablation(
        "without_amr",
        "w/o AMR",
        (0.446, 0.634, 0.474, 0.543),
        {"refinement": "none"},
        "V, A and T are fused: no generator, extractors or discriminator, and none of their losses",
    ),
    Ablation(
        "adversarial",
        "w/ L_adv",
        (0.432, 0.722, 0.419, 0.530),
        {"refinement_losses": ("adversarial",)},
        "of the losses of AMR only L_C and L_P",
    ),
    Ablation(
        "adversarial_orthogonality",
        "w/ L_adv, L_diff",
        (0.462, 0.581, 0.520, 0.549),
        {"refinement_losses": ("adversarial", "orthogonality")},
        "of the losses of AMR all but L_cml",
    ),
    Ablation(
        "common",
        "w/ C{v,a,t}",
        (0.458, 0.638, 0.481, 0.549),
        {"refinement": "common"},
        "C^v, C^a and C^t are fused; nothing private, so no L_P and no L_diff",
    ),
    Ablation(
        "private",
        "w/ P{v,a,t}",
        (0.449, 0.605, 0.496, 0.545),
        {"refinement": "private"},
        "P^v, P^a and P^t are fused; nothing common, so no L_C, L_diff and L_cml",
    ),
    Ablation(
        "order_vtac",
        "order v,t,a,c",
        (0.465, 0.629, 0.496, 0.554),
        {"fusion_order": ("visual", "text", "audio", "common")},
    ),
    Ablation(
        "order_atvc",
        "order a,t,v,c",
        (0.470, 0.584, 0.524, 0.552),
        {"fusion_order": ("audio", "text", "visual", "common")},
    ),
    Ablation(
        "without_tokens",
        "w/o MTE",
        (0.478, 0.601, 0.528, 0.562),
        {"modality_tokens": False},
        "no modality token embeddings",
    ),
    Ablation(
        "identical",
        "w/ identical",
        (0.462, 0.575, 0.528, 0.551),
        {"label_decoder": "identical"},
        "no decoder: the mean of M through a dense layer",
    ),
    Ablation(
        "label_embedding",
        "w/ LE",
        (0.465, 0.558, 0.556, 0.557),
        {"label_decoder": "embedding"},
        "each label's embedding is joined with the mean of M; no attention",
    ),
    Ablation(
        "label_correlation",
        "w/ LE, LC",
        (0.473, 0.594, 0.538, 0.564),
        {"label_decoder": "correlation"},
        "as before, after the labels' self-attention",
    ),
    Ablation(FULL, "TAILOR", (0.488, 0.641, 0.512, 0.569)),
)

ABLATIONS: Mapping[str, Ablation] = {row.name: row for row in _ROWS}
"""Name -> row, in the order of the table."""


def check_full(config: TailorConfig) -> None:
    """Refuse a model that has switched already what variants switch.

    Raises:
        ConfigError: naming the setting and these variants.
    """
    for row in ABLATIONS.values():
        for name in row.changes:
            default = TailorConfig.model_fields[name].default
            if not _same(getattr(config, name), default, ordered=name == "fusion_order"):
                raise _not_full(config, name, switch=name, expected=repr(default))
    for loss in config.refinement_losses:
        name = f"{loss}_weight"
        if not getattr(config, name):  # as good as left out
            raise _not_full(config, name, switch="refinement_losses", expected="a weight above 0")


def _same(one: Any, other: Any, *, ordered: bool) -> bool:
    sets = isinstance(one, tuple) and isinstance(other, tuple) and not ordered
    return bool(set(one) == set(other) if sets else one == other)


def _not_full(config: TailorConfig, name: str, *, switch: str, expected: str) -> ConfigError:
    variants = [row.name for row in ABLATIONS.values() if switch in row.changes]
    return ConfigError(
        f"model.{name} = {getattr(config, name)!r} is for variants to switch: "
        f"{', '.join(variants)}",
        expected=f"{expected}, as in the full TAILOR that all variants are compared with",
        fix=f"leave model.{name} alone, or train that model with `emotailor train`",
    )


def find_ablation(name: str) -> Ablation:
    """Return the row of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in ABLATIONS:
        raise ConfigError(f"unknown variant {name!r}", expected=f"one of {', '.join(ABLATIONS)}")
    return ABLATIONS[name]
