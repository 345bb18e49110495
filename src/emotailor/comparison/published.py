"""What was published for CMU-MOSEI: Table 2 of TAILOR (AAAI 2022), and numbers from elsewhere."""

from dataclasses import dataclass

from emotailor.comparison.mosei import recognise
from emotailor.data.dataset import EmotionDataset
from emotailor.evaluation.display import Published
from emotailor.models.system import PUBLISHED_METRICS, Setting
from emotailor.models.table import SYSTEMS

NOTE = (
    "Paper: Table 2 of TAILOR (AAAI 2022) as published; epoch and threshold are not given there. "
    "By the authors' program it is rule e: the last epoch, threshold .35, the last incomplete "
    "batch dropped, P and R exchanged. Acc and F1 are not affected by the exchange."
)


@dataclass(frozen=True)
class Claim:
    """A micro-F1 on the test split of CMU-MOSEI that is not in Table 2, with its rule.

    Attributes:
        who: system, and what is special about it.
        micro_f1: as published.
        rule: how epoch and threshold were chosen, as far as that is known.
        source: where it stands.
    """

    who: str
    micro_f1: str
    rule: str
    source: str

    def __str__(self) -> str:
        return f"{self.who} {self.micro_f1} ({self.source}; {self.rule})"


CLAIMS = (
    Claim("UniVA with GloVe", ".572", "selected on validation", "ACM MM 2024"),
    Claim("UniVA with fine-tuned RoBERTa", ".605", "selected on validation", "ACM MM 2024"),
    Claim("CARAT", ".565 to .568", "rule f of its program", "runs of its users"),
    Claim("LDDU", ".587", "rule d, epoch and threshold on test", "its authors' log"),
    Claim("LDDU, all epochs", ".563 ± .012", "threshold on test", "the same log"),
)
"""Numbers from elsewhere, each with the rule without which it cannot be compared."""

ELSEWHERE = f"Paper: published elsewhere, micro-F1: {'; '.join(map(str, CLAIMS))}."
"""The same as a note."""


def _half(setting: Setting) -> dict[str, dict[str, float]]:
    return {
        name: dict(zip(PUBLISHED_METRICS, row.published[setting], strict=True))
        for name, row in SYSTEMS.items()
        if setting in row.published
    }


TABLE_2: dict[Setting, dict[str, dict[str, float]]] = {
    "aligned": _half("aligned"),
    "unaligned": _half("unaligned"),
}
"""Setting -> system -> metric. There, every system but MulT aligns unaligned data by CTC first."""


def published_setting(dataset: EmotionDataset) -> Setting | None:
    """Return which half of the table belongs to a data set; None where it is not CMU-MOSEI.

    The one place that decides where published numbers appear; see ``mosei.py``.
    """
    if not recognise(dataset).is_mosei:
        return None
    return _setting(dataset)


def _setting(dataset: EmotionDataset) -> Setting:
    return "aligned" if dataset.aligned else "unaligned"


def why_not_published(dataset: EmotionDataset, split: str) -> str:
    """Say why no published number belongs beside results on a split; empty where some do."""
    if split != "test":
        return f"papers report the split 'test', not {split!r}"
    return recognise(dataset).why_not


def notes_without(dataset: EmotionDataset) -> tuple[str, ...]:
    """Return a note on why no published numbers are shown, for data that look like CMU-MOSEI."""
    found = recognise(dataset)
    if found.is_mosei or not found.resembles:
        return ()
    return (f"No published numbers: {found.why_not}.",)


def published_numbers(setting: Setting, system: str = "tailor") -> Published:
    """Return the published numbers of a system, to show beside others.

    Args:
        setting: half of the table.
        system: name of the system; without numbers in the table, there are none to show.
    """
    numbers = TABLE_2[setting].get(system, {})
    name = f"paper, {setting}"
    return Published(name, numbers, NOTE)


def published_beside(dataset: EmotionDataset, split: str) -> tuple[Published | None, str]:
    """Return the numbers of TAILOR for a data set and split, or why there are none."""
    why = why_not_published(dataset, split)
    if why:
        return None, why
    return published_numbers(_setting(dataset)), ""
