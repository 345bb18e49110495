"""Which setting a key means that is none: it lacks its table, or is spelt as elsewhere."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence

Keys = Mapping[str, Sequence[str]]
"""Table -> names of the settings in it."""

SYNONYMS: Mapping[str, str] = {
    "epoch": "epochs",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "lr": "learning_rate",
    "learningrate": "learning_rate",
    "rate": "learning_rate",
    "bs": "batch_size",
    "batch": "batch_size",
    "batchsize": "batch_size",
    "grad_accum": "accumulate",
    "gradient_accumulation_steps": "accumulate",
    "opt": "optimizer",
    "optim": "optimizer",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "warmup_ratio": "warmup",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "clip": "clip_norm",
    "grad_clip": "clip_norm",
    "max_grad_norm": "clip_norm",
    "ema": "average",
    "early_stopping": "patience",
    "pos_weight": "positive_weight",
    "class_weight": "positive_weight",
    "gamma": "focal_gamma",
    "random_state": "seed",
    "amp": "precision",
    "fp16": "precision",
    "bf16": "precision",
    "gpu": "device",
    "cuda": "device",
    "drop": "dropout",
    "dropout_rate": "dropout",
    "hidden": "hidden_size",
    "hidden_dim": "hidden_size",
    "dim": "hidden_size",
    "d_model": "hidden_size",
    "width": "hidden_size",
    "ffn": "feedforward_size",
    "d_ff": "feedforward_size",
    "num_heads": "heads",
    "n_heads": "heads",
    "nhead": "heads",
    "num_layers": "layers",
    "n_layers": "layers",
    "max_len": "max_steps",
    "max_length": "max_steps",
    "modality": "modalities",
    "normalize": "standardize",
    "normalise": "standardize",
    "standardise": "standardize",
    "embeddings": "label_vectors",
    "glove": "label_vectors",
}
"""What people and other programs call a setting -> its name."""

BEFORE_SYSTEM = ("alignment", "adapters")
"""Tables of what stands before a system: seldom meant where a name is one of the system's too."""

CLOSE = 0.75
"""How alike two names must be for one to be taken for the other in another table."""


def plain(name: str) -> str:
    """Return a name as all settings are written."""
    return name.strip().lower().replace("-", "_")


def settings_meant(name: str, table: str | None, keys: Keys) -> list[str]:
    """Return the settings that an unknown name may mean, with their tables; best ones first.

    Args:
        name: as given, without a table.
        table: the table that it was given in; None where that is none of ``keys``.
        keys: all settings.
    """
    written = plain(name)
    usual = SYNONYMS.get(written, written)
    here = keys.get(table or "", ())

    # the same name in its table, then in others
    for wanted in (written, usual):
        if wanted in here:
            return [f"{table}.{wanted}"]
    for wanted in (written, usual):
        there = [f"{other}.{wanted}" for other, names in keys.items() if wanted in names]
        if there:
            return _nearest_to_system(there)

    # a slip of the pen, first in the table that was named
    close = _close(usual, here, cutoff=0.6)
    if close:
        return [f"{table}.{found}" for found in close]

    found = []
    for other, names in keys.items():
        found += [f"{other}.{close}" for close in _close(usual, names, cutoff=CLOSE)]
    if found or table is not None:
        return _nearest_to_system(found)
    return difflib.get_close_matches(written, list(keys), n=1)


def _nearest_to_system(settings: Sequence[str]) -> list[str]:
    """Return the settings that are not of what stands before a system, if there are any."""
    own = [setting for setting in settings if setting.partition(".")[0] not in BEFORE_SYSTEM]
    return own or list(settings)


def _close(name: str, known: Iterable[str], *, cutoff: float) -> list[str]:
    """Return the known name that is most like another one, or those that it is a part of."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    if close or len(name) < 4:  # nearly everything has some three letters in it
        return close
    return [other for other in names if name in other.split("_") or other.startswith(name)][:4]


def question(settings: Sequence[str]) -> str:
    """Return the question whether one of some settings is meant."""
    return f"did you mean {' or '.join(settings)}?"


def unknown_setting(
    name: str, table: str | None, keys: Keys, others: Callable[[str], Sequence[str]]
) -> str:
    """Return what was expected in place of an unknown key.

    Args:
        name: as given, without a table.
        table: the table that it was given in; None where that is none of ``keys``.
        keys: all settings of the run.
        others: name of a setting -> the titles of other systems that have it.
    """
    meant = settings_meant(name, table, keys)
    is_certain = bool(meant) and plain(name) == meant[0].partition(".")[2]
    if is_certain:
        return question(meant)

    # a setting of a model, but of another one
    owners = others(plain(name)) if table in (None, "model") else []
    if owners:
        of_model = ", ".join(keys["model"]) or "it has none"
        return (
            f"a setting of this system's model ({of_model}); "
            f"model.{plain(name)} is one of {', '.join(owners)}"
        )
    if meant:
        return question(meant)

    known = keys.get(table or "", tuple(keys))
    return f"one of {', '.join(known)}"
