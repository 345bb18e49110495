"""Table 2 of TAILOR (AAAI 2022): what was published for CMU-MOSEI."""

from emotailor.data.card import DatasetCard
from emotailor.data.sample import EMOTIONS
from emotailor.evaluation.display import Published
from emotailor.models.system import PUBLISHED_METRICS, Setting
from emotailor.models.table import SYSTEMS

MOSEI_SPLITS = {"train": 16_326, "valid": 1_871, "test": 4_659}
"""Segments of CMU-MOSEI in the paper's split."""

NOTE = (
    "Paper: Table 2 of TAILOR (AAAI 2022) as published; the threshold is not given there. Its P "
    "and R may be exchanged: the authors' program swaps the two. Acc and F1 are not affected."
)


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


def published_setting(card: DatasetCard) -> Setting | None:
    """Return which half of the table belongs to a data set; None where it is not CMU-MOSEI.

    It is CMU-MOSEI where the labels are its six and the splits have the paper's sizes, unless the
    data were drawn (``emotailor data synthesize`` can draw as many).
    """
    if card.synthetic:
        return None
    if set(card.label_names) != set(EMOTIONS):
        return None

    for name, size in MOSEI_SPLITS.items():
        split = card.splits.get(name)
        if split is None or split.samples != size:
            return None
    return "aligned" if card.aligned else "unaligned"


def published_numbers(setting: Setting, system: str = "tailor") -> Published:
    """Return the published numbers of a system, to show beside others.

    Args:
        setting: half of the table.
        system: name of the system; without numbers in the table, there are none to show.
    """
    numbers = TABLE_2[setting].get(system, {})
    name = f"paper, {setting}"
    return Published(name, numbers, NOTE)
