"""Whether a system is trained behind alignment modules, and of which size."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.base import FittedModel
from emotailor.models.factory import model_class
from emotailor.models.system import System

STEPS_WITHOUT_TARGET = 50
"""The paper's text length, for data that have no text."""


def longest_sequence(dataset: EmotionDataset, m: Modality) -> int:
    """Return the steps of the longest sequence of a modality, in any split of a data set."""
    longest = [split.lengths(m).max() for split in dataset.splits.values() if len(split)]
    return int(max(longest))


def resolve_alignment(
    wanted: AlignmentConfig,
    system: System,
    dims: Mapping[Modality, int],
    dataset: EmotionDataset,
    train_split: Split,
) -> AlignmentConfig:
    """Turn ``auto`` into ``ctc`` or ``none``, and take the sizes that nobody gave from the data.

    Args:
        wanted: by the user.
        system: to be trained.
        dims: the modalities it takes.
        dataset: all splits count for the longest target.
        train_split: its samples alone count for the steps per target step.

    Raises:
        ConfigError: ``ctc`` where nothing can be aligned, or nothing trains the modules.
    """
    target = wanted.target
    sources = [m for m in dims if m != target]
    longest = {m: longest_sequence(dataset, m) for m in dataset.dims}
    has_target = bool(longest.get(target))

    problem = None
    if dataset.aligned:
        problem = "the data are word-aligned"
    elif issubclass(model_class(system.name), FittedModel):
        problem = f"{system.title} is fitted at once, and no gradient would train the modules"
    elif not sources or (len(dims) == 1 and not has_target):
        problem = f"{system.title} takes {', '.join(dims)} alone: there is nothing to align"
    if wanted.kind == "ctc" and problem:
        raise ConfigError(
            f"alignment.kind = 'ctc', but {problem}",
            expected="unaligned data and a system that is trained by gradients",
            fix="leave alignment.kind at auto",
        )

    passed = wanted.kind == "auto" and system.reads_unaligned
    if wanted.kind == "none" or passed or problem:
        return wanted.replace(kind="none")

    steps = wanted.target_steps or longest.get(target) or STEPS_WITHOUT_TARGET
    rates = {}
    for m in sources:
        rate = _typical_rate(train_split, m, target) if has_target else None
        if rate is None:
            # no sample has both: as if the longest sequence filled all target steps
            rate = max(longest[m], 1) / steps
        rates[m] = rate

    # what the user gave wins
    rates.update(wanted.steps_per_target)
    return wanted.replace(kind="ctc", target_steps=steps, steps_per_target=rates)


def _typical_rate(split: Split, m: Modality, target: Modality) -> float | None:
    """Return the median steps of ``m`` per target step; None where no sample has both."""
    both = split.present(m) & split.present(target)
    if not both.any():
        return None

    steps = split.lengths(m)[both]
    target_steps = split.lengths(target)[both]
    rates = steps / target_steps
    return float(np.median(rates))


def target_lengths(
    alignment: AlignmentConfig, lengths: Mapping[Modality, Int64[np.ndarray, "n"]]
) -> Int64[np.ndarray, "n"]:
    """Return the steps of each sample behind the modules, as ``CTCAligned`` counts them.

    Args:
        alignment: of kind ``ctc``, with its sizes.
        lengths: modality -> steps of each sample, 0 where it is missing.
    """
    estimates = []
    for m, steps in lengths.items():
        if m == alignment.target:
            continue
        rate = alignment.steps_per_target.get(m, 1.0)
        estimate = np.rint(steps / rate)
        # a missing modality says nothing about the others
        estimates.append(np.where(steps, estimate, np.inf))

    shortest = np.min(estimates, axis=0)
    expected = np.clip(shortest, 1, alignment.target_steps)

    # where the target itself is there, its steps are known
    known = lengths.get(alignment.target, np.zeros_like(expected))
    return np.where(known, known, expected).astype(np.int64)
