"""The ablations of TAILOR: the twelve rows of Table 3 (AAAI 2022) as changes of TailorConfig."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from emotailor.config import Config
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError
from emotailor.models.system import FULL, PUBLISHED_METRICS, Variant
from emotailor.models.tailor.config import TailorConfig


@dataclass(frozen=True)
class Ablation(Variant):
    """One row of Table 3: a variant of TAILOR."""

    def apply(self, config: Config) -> Config:
        """Return the settings of the variant.

        Raises:
            ConfigError: ``config`` is not the full model.
        """
        check_full(config)
        return super().apply(config)

    def why_full(self, config: Config, modalities: Iterable[Modality]) -> str:
        """Say why the variant is the full model itself on some data; empty where it is not."""
        if "fusion_order" not in self.changes:
            return ""

        # a modality that the data lack is in no order
        there = {*modalities, "common"}
        changed = self.apply(config)
        full = [block for block in _tailor(config).fusion_order if block in there]
        own = [block for block in _tailor(changed).fusion_order if block in there]
        if own != full:
            return ""

        return f"on these data it is the full model: {', '.join(own)}"


def _tailor(config: Config) -> TailorConfig:
    """Return settings that are known to be TAILOR's."""
    assert isinstance(config, TailorConfig)
    return config


def _row(
    name: str,
    title: str,
    numbers: tuple[float, float, float, float],
    changes: Mapping[str, Any],
    why: str = "",
) -> Ablation:
    """Return a row; ``numbers`` are as printed, in the order of ``PUBLISHED_METRICS``."""
    published = dict(zip(PUBLISHED_METRICS, numbers, strict=True))
    return Ablation(name, title, changes, why, published)


_ROWS = (
    _row(
        "without_amr",
        "w/o AMR",
        (0.446, 0.634, 0.474, 0.543),
        {"refinement": "none"},
        "V, A and T are fused: no generator, extractors or discriminator, and none of their losses",
    ),
    _row(
        "adversarial",
        "w/ L_adv",
        (0.432, 0.722, 0.419, 0.530),
        {"refinement_losses": ("adversarial",)},
        "of the losses of AMR only L_C and L_P",
    ),
    _row(
        "adversarial_orthogonality",
        "w/ L_adv, L_diff",
        (0.462, 0.581, 0.520, 0.549),
        {"refinement_losses": ("adversarial", "orthogonality")},
        "of the losses of AMR all but L_cml",
    ),
    _row(
        "common",
        "w/ C{v,a,t}",
        (0.458, 0.638, 0.481, 0.549),
        {"refinement": "common"},
        "C^v, C^a and C^t are fused; nothing private, so no L_P and no L_diff",
    ),
    _row(
        "private",
        "w/ P{v,a,t}",
        (0.449, 0.605, 0.496, 0.545),
        {"refinement": "private"},
        "P^v, P^a and P^t are fused; nothing common, so no L_C, L_diff and L_cml",
    ),
    _row(
        "order_vtac",
        "order v,t,a,c",
        (0.465, 0.629, 0.496, 0.554),
        {"fusion_order": ("visual", "text", "audio", "common")},
    ),
    _row(
        "order_atvc",
        "order a,t,v,c",
        (0.470, 0.584, 0.524, 0.552),
        {"fusion_order": ("audio", "text", "visual", "common")},
    ),
    _row(
        "without_tokens",
        "w/o MTE",
        (0.478, 0.601, 0.528, 0.562),
        {"modality_tokens": False},
        "no modality token embeddings",
    ),
    _row(
        "identical",
        "w/ identical",
        (0.462, 0.575, 0.528, 0.551),
        {"label_decoder": "identical"},
        "no decoder: the mean of M through a dense layer",
    ),
    _row(
        "label_embedding",
        "w/ LE",
        (0.465, 0.558, 0.556, 0.557),
        {"label_decoder": "embedding"},
        "each label's embedding is joined with the mean of M; no attention",
    ),
    _row(
        "label_correlation",
        "w/ LE, LC",
        (0.473, 0.594, 0.538, 0.564),
        {"label_decoder": "correlation"},
        "as before, after the labels' self-attention",
    ),
    _row(FULL, "TAILOR", (0.488, 0.641, 0.512, 0.569), {}),
)

ABLATIONS: Mapping[str, Ablation] = {row.name: row for row in _ROWS}
"""Name -> row, in the order of the table."""


def check_full(config: Config) -> None:
    """Refuse a model that has switched already what variants switch.

    Raises:
        ConfigError: naming the setting and these variants.
    """
    full = _tailor(config)
    for row in ABLATIONS.values():
        for name in row.changes:
            default = TailorConfig.model_fields[name].default
            value = getattr(full, name)
            ordered = name == "fusion_order"
            if not _same(value, default, ordered=ordered):
                raise _not_full(full, name, switch=name, expected=repr(default))

    for loss in full.refinement_losses:
        name = f"{loss}_weight"
        weight = getattr(full, name)
        if not weight:  # as good as left out
            raise _not_full(
                full,
                name,
                switch="refinement_losses",
                expected="a weight above 0",
            )


def _same(one: Any, other: Any, *, ordered: bool) -> bool:
    """Whether two values of a setting are the same model."""
    if isinstance(one, tuple) and isinstance(other, tuple) and not ordered:
        return set(one) == set(other)
    return bool(one == other)


def _not_full(config: TailorConfig, name: str, *, switch: str, expected: str) -> ConfigError:
    value = getattr(config, name)
    variants = [row.name for row in ABLATIONS.values() if switch in row.changes]
    listed = ", ".join(variants)
    return ConfigError(
        f"model.{name} = {value!r} is for variants to switch: {listed}",
        expected=f"{expected}, as in the full TAILOR that all variants are compared with",
        fix=f"leave model.{name} alone, or train that model with `emotailor train`",
    )
