"""Which samples are listed, and in which order: what stands behind the ``?`` of an address."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
from jaxtyping import Bool, Float64, Int64

from emotailor.browse.judged import Judged

SHOWN: Mapping[str, str] = {
    "all": "all samples",
    "true": "true",
    "named": "named",
    "right": "right",
    "wrong": "wrong",
    "false-positive": "named, but not true",
    "false-negative": "true, but not named",
}
"""What of the samples is shown, of a label or of any; ``right``: nothing is wrong."""

WHO: Mapping[str, str] = {
    "all": "all samples",
    "differ": "A and B differ",
    "both": "both are right",
    "a": "A alone is right",
    "b": "B alone is right",
    "neither": "neither is right",
}
"""What of the samples is shown where there are two runs."""

ORDERS: Mapping[str, str] = {
    "data": "as in the data set",
    "confident": "most confident mistakes first",
    "probable": "most probable first",
    "id": "by id",
}
ORDERS_OF_TWO: Mapping[str, str] = {
    "data": "as in the data set",
    "apart": "farthest apart first",
    "id": "by id",
}

LONGEST_SEARCH = 200
"""Characters that are searched for, at most."""


@dataclass(frozen=True)
class Choice:
    """Which samples are listed.

    Attributes:
        label: the label that counts; empty for all of them.
        show: a key of :data:`SHOWN`; of two runs ``all`` or ``true``.
        who: a key of :data:`WHO`; of one run ``all``.
        order: a key of :data:`ORDERS`, or of :data:`ORDERS_OF_TWO`.
        words: each of them must be in the words or the id.
        page: number of the page, from 1.
    """

    label: str = ""
    show: str = "all"
    who: str = "all"
    order: str = "data"
    words: str = ""
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str], one: Judged, *, is_pair: bool) -> "Choice":
        """Return what an address asks for; what makes no sense is left out."""
        label = given.get("label", "")
        show = given.get("show", "all")
        who = given.get("who", "all")
        order = given.get("order", "data")
        page = given.get("page", "1")
        orders = ORDERS_OF_TWO if is_pair else ORDERS
        shown = ("all", "true") if is_pair else SHOWN
        return cls(
            label=label if label in one.label_names else "",
            show=show if show in shown else "all",
            who=who if is_pair and who in WHO else "all",
            order=order if order in orders else "data",
            words=given.get("words", "").strip()[:LONGEST_SEARCH],
            page=max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
        )

    def address(self, place: str, **more: str) -> str:
        """Return the address of a page with this choice.

        Args:
            place: path of the page.
            more: what else stands behind the ``?``.
        """
        usual = Choice()
        given: dict[str, Any] = {}
        for name in ("label", "show", "who", "order", "words", "page"):
            value = getattr(self, name)
            if value != getattr(usual, name):
                given[name] = value
        query = urlencode({**given, **more})
        path, mark, fragment = place.partition("#")
        return f"{path}?{query}{mark}{fragment}" if query else place

    def but(self, **changes: Any) -> "Choice":
        """Return another choice; it begins with its first page."""
        return replace(self, **{"page": 1, **changes})


def chosen(one: Judged, other: Judged | None, choice: Choice) -> Int64[np.ndarray, "chosen"]:
    """Return the positions of the samples that are listed, in their order.

    Args:
        one: the answers of a run.
        other: those of a second one; None for none.
        choice: which samples.
    """
    columns = _columns(one, choice.label)
    if choice.show == "all":
        keep = np.ones(len(one), np.bool_)
    elif choice.show == "right":
        keep = ~_any(one.wrong, columns)
    else:
        keep = _any(_shown(one, choice.show), columns)
    if other is not None:
        keep &= who_is_right(one, other, choice.label)[choice.who]
    if choice.words:
        keep &= _said(one, choice.words)

    order = _order(one, other, choice, columns)
    return order[keep[order]]


def who_is_right(one: Judged, other: Judged, label: str = "") -> dict[str, Bool[np.ndarray, "n"]]:
    """Return key of :data:`WHO` -> whether it is so, of each sample.

    Args:
        one: the answers of run A.
        other: those of run B.
        label: the label that counts; empty for all together.
    """
    columns = _columns(one, label)
    a = ~_any(one.wrong, columns)
    b = ~_any(other.wrong, columns)
    return {
        "all": np.ones(len(one), np.bool_),
        "differ": _any(one.named ^ other.named, columns),
        "both": a & b,
        "a": a & ~b,
        "b": ~a & b,
        "neither": ~a & ~b,
    }


def _columns(one: Judged, label: str) -> list[int]:
    every = list(range(len(one.label_names)))
    return [one.label_names.index(label)] if label else every


def _any(cells: Bool[np.ndarray, "n labels"], columns: list[int]) -> Bool[np.ndarray, "n"]:
    """Return of which samples something is so for any of some labels."""
    return np.asarray(cells[:, columns].any(axis=1), np.bool_)


def _shown(one: Judged, show: str) -> Bool[np.ndarray, "n labels"]:
    """Return of which labels of each sample something is so."""
    if show == "true":
        return one.true
    if show == "named":
        return one.named
    if show == "false-positive":
        return one.named & ~one.true
    if show == "false-negative":
        return ~one.named & one.true
    return one.wrong


def _said(one: Judged, words: str) -> Bool[np.ndarray, "n"]:
    """Return which samples have every word of a search in their words or their id."""
    wanted = words.casefold().split()
    return np.array([all(word in text for word in wanted) for text in one.texts], np.bool_)


def _order(
    one: Judged, other: Judged | None, choice: Choice, columns: list[int]
) -> Int64[np.ndarray, "n"]:
    """Return the positions of all samples in the order of a choice; equal ones as in the data."""
    if choice.order == "id":
        return one.by_id
    if choice.order == "confident":
        wrong = one.wrong
        if choice.show in ("false-positive", "false-negative"):
            wrong = _shown(one, choice.show)
        far = np.where(wrong, one.distances, -np.inf)
        return _falling(far[:, columns].max(1))
    if choice.order == "probable":
        return _falling(one.log_odds[:, columns].max(1))
    if choice.order == "apart" and other is not None:
        apart = np.abs(one.log_odds - other.log_odds)
        return _falling(apart[:, columns].max(1))
    return np.arange(len(one), dtype=np.int64)


def _falling(values: Float64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    return np.argsort(-values, kind="stable").astype(np.int64)
