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
    splits = [split for split in dataset.splits.values() if len(split)]
    longest = {m: max(int(split.lengths(m).max()) for split in splits) for m in dataset.dims}
    problem = None
    if dataset.aligned:
        problem = "the data are word-aligned"
    elif issubclass(model_class(system.name), FittedModel):
        problem = f"{system.title} is fitted at once, and no gradient would train the modules"
    elif not sources or (len(dims) == 1 and not longest.get(target)):
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
    rates = {m: max(longest[m], 1) / steps for m in sources}
    for m in sources if longest.get(target) else ():
        both = train_split.present(m) & train_split.present(target)
        if both.any():
            rates[m] = float(
                np.median(train_split.lengths(m)[both] / train_split.lengths(target)[both])
            )
    return wanted.replace(
        kind="ctc", target_steps=steps, steps_per_target={**rates, **wanted.steps_per_target}
    )


def target_lengths(
    alignment: AlignmentConfig, lengths: Mapping[Modality, Int64[np.ndarray, "n"]]
) -> Int64[np.ndarray, "n"]:
    """Return the steps of each sample behind the modules, as ``CTCAligned`` counts them.

    Args:
        alignment: of kind ``ctc``, with its sizes.
        lengths: modality -> steps of each sample, 0 where it is missing.
    """
    estimates = [
        np.where(steps, np.rint(steps / alignment.steps_per_target.get(m, 1.0)), np.inf)
        for m, steps in lengths.items()
        if m != alignment.target
    ]
    expected = np.clip(np.min(estimates, axis=0), 1, alignment.target_steps)
    known = lengths.get(alignment.target, np.zeros_like(expected))
    return np.where(known, known, expected).astype(np.int64)
