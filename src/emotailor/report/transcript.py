"""What is said in a video: utterances with their emotions, and words with their evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emotailor.data.sample import Modality
from emotailor.report.page import FAINTEST, Content, Markup, element
from emotailor.serving.prediction import MIN_EVIDENCE, Failure, Prediction
from emotailor.serving.timeline import SEEN_AS, Moment, Timeline, clock, told_emotions

MANY = 120  # utterances from which a browser lays out those alone that are in sight
FAINT = 0.05  # change of log-odds that has the full colour where none is larger


@dataclass(frozen=True)
class Transcript:
    """What is said, with the emotions of each utterance, and words in the colour of their evidence.

    Attributes:
        timeline: what is shown.
        video: address of the video; empty for none.
    """

    timeline: Timeline
    video: str

    def markup(self, level: int) -> Markup:
        """Return its HTML: a choice of an emotion, then the utterances."""
        timeline = self.timeline
        parts: list[Content] = []
        if self._is_explained():
            parts += [self._choice(), self._key()]
        scales = [self._scale(label) for label in timeline.label_names]
        moments = [self._moment(moment, scales) for moment in timeline.moments]
        listed = element(
            "ol", *moments, class_="moments many" if len(moments) > MANY else "moments"
        )
        return element("div", *parts, listed, class_="transcript plain")

    def style(self) -> str:
        """Return which emotion words and shares are about, by what is chosen; no script needs to.

        Where there is one, it says so by a class: for whatever changes on the page, a browser
        would look again at all that depends on what something else holds.
        """
        rules = []
        for k in range(len(self.timeline.label_names)):
            chosen = f":is(.plain:has(#e{k}:checked), .chosen{k})"
            rules.append(f"{chosen} .w {{ --p: var(--p{k}, 0); --n: var(--n{k}, 0); }}")
            rules.append(f"{chosen} .of{k} {{ display: flex; }}")
        # a browser that cannot tell what is chosen shows the first choice
        first = self._first()
        rules.insert(0, f".w {{ --p: var(--p{first}, 0); --n: var(--n{first}, 0); }}")
        return "\n".join(rules) + "\n"

    def _is_explained(self) -> bool:
        found = [moment.prediction for moment in self.timeline.moments]
        return any(p is not None and p.explanation is not None for p in found)

    def _first(self) -> int:
        """Return which label is chosen at first: the one that holds most often."""
        counts = list(self.timeline.held.values())
        return counts.index(max(counts))

    def _choice(self) -> Markup:
        first = self._first()
        options: list[Content] = [element("legend", "Evidence for")]
        for k, label in enumerate(self.timeline.label_names):
            attributes = {"type": "radio", "name": "emotion", "id": f"e{k}"}
            if k == first:
                attributes["checked"] = "checked"
            options.append(element("label", element("input", **attributes), label))
        return element("fieldset", *options)

    def _key(self) -> Markup:
        label = self.timeline.label_names[0]
        parts: list[Content] = []
        if any(moment.evidence(label) is not None for moment in self.timeline.moments):
            parts += [
                element("span", "Underlined", class_="key-for"),
                " words speak for the emotion, ",
                element("span", "dotted", class_="key-against"),
                " ones against it: how much its log-odds fall when the model cannot see a word and "
                "its neighbours. ",
            ]
        parts.append(
            f"{self._of_modalities()} Measured for utterances in which an emotion holds by the "
            "thresholds of the model."
        )
        return element("p", *parts, class_="note")

    def _of_modalities(self) -> str:
        """Say what the bars are, or why there are none."""
        seen = self.timeline.evidence
        if len(seen) > 1:
            listed = ", ".join(SEEN_AS[m] for m in seen)
            return (
                f"The bars divide what speaks for it among {listed}: how much its log-odds fall "
                "without each."
            )
        names = [SEEN_AS[m] for m in seen]
        return f"All evidence is from the {names[0]}." if names else ""

    def _scale(self, label: str) -> float:
        """Return the evidence for a label that has the full colour: the largest in the video."""
        scale = FAINT
        for moment in self.timeline.moments:
            drops = moment.evidence(label)
            if drops is not None:
                scale = max(scale, float(np.abs(drops).max(initial=0.0)))
        return scale

    def _moment(self, moment: Moment, scales: Sequence[float]) -> Markup:
        time = clock(moment.start)
        at = element("span", time, class_="at")
        if self.video:
            address = f"{self.video}#t={moment.start:.2f}"
            at = element("a", time, class_="at", href=address)

        labels = self.timeline.label_names
        content = element(
            "div",
            self._said(moment, scales),
            _emotions(moment),
            *_shares(moment, labels, self.timeline.evidence),
            _seen(moment),
        )
        data = {}
        if moment.prediction is not None:
            found = moment.prediction.probabilities
            # as exact as the program has them: a script decides by the same rule
            data["data_p"] = " ".join(repr(float(found[label])) for label in labels)
        return element(
            "li",
            at,
            content,
            class_="moment",
            data_start=f"{moment.start:.3f}",
            data_end=f"{moment.end:.3f}",
            **data,
        )

    def _said(self, moment: Moment, scales: Sequence[float]) -> Markup:
        if not moment.words:
            return element("p", "nothing is said", class_="told silent")

        drops = [moment.evidence(label) for label in self.timeline.label_names]
        words: list[Content] = []
        for place, word in enumerate(moment.words):
            strengths = []
            for k, of_label in enumerate(drops):
                if of_label is not None:
                    strengths.append((k, float(of_label[place]) / scales[k]))
            words += [_word(word.text, strengths), " "]
        return element("p", *words, class_="told")


def _word(text: str, strengths: Sequence[tuple[int, float]]) -> Markup:
    """Return a word with how strong it speaks for and against each label, from 0 to 1."""
    declared = []
    for k, strength in strengths:
        if abs(strength) < FAINTEST:
            continue
        side = "p" if strength > 0 else "n"
        declared.append(f"--{side}{k}:{min(abs(strength), 1.0):.2f}")
    if not declared:
        return element("span", text)
    return element("span", text, class_="w", style=";".join(declared))


# ---------------------------------------------------------------------- below the words


def _emotions(moment: Moment) -> Markup:
    """Return the emotions of an utterance with what spoke for them.

    Those that do not hold are there, too, but hidden: a script shows them by other thresholds.
    """
    if isinstance(moment.outcome, Failure):
        reason = element("li", told_emotions(moment)[0], class_="none")
        return element("ul", reason, class_="emotions")

    items = []
    for label, p in _by_probability(moment.outcome):
        why = None
        because = moment.because(label)
        if because:
            why = element("span", f" because: {because}", class_="why")
        number = list(moment.outcome.probabilities).index(label)
        hidden = {} if moment.outcome.decisions[label] else {"hidden": "hidden"}
        content: list[Content] = [element("b", label), f" {p:.2f}", why]
        items.append(element("li", *content, data_label=str(number), **hidden))

    hidden = {"hidden": "hidden"} if moment.labels else {}
    items.append(element("li", "no emotion", class_="none", **hidden))
    return element("ul", *items, class_="emotions")


def _by_probability(found: Prediction) -> list[tuple[str, float]]:
    return sorted(found.probabilities.items(), key=lambda pair: -pair[1])


def _shares(moment: Moment, labels: Sequence[str], seen: Sequence[Modality]) -> list[Markup]:
    """Return for each label how its evidence is divided; nothing where there is no choice."""
    why = None if moment.prediction is None else moment.prediction.explanation
    if why is None or len(seen) < 2:
        return []
    return [_share(k, label, why.modalities[label]) for k, label in enumerate(labels)]


def shares_of(drops: Mapping[Modality, float]) -> dict[Modality, float]:
    """Return which share each modality has of what speaks for a label.

    What speaks against it, or for it by less than can be seen, has none.
    """
    spoke = {m: drop if drop >= MIN_EVIDENCE else 0.0 for m, drop in drops.items()}
    total = sum(spoke.values())
    return {m: drop / total if total else 0.0 for m, drop in spoke.items()}


def _share(k: int, label: str, drops: Mapping[Modality, float]) -> Markup:
    shares = shares_of(drops)
    told = []
    segments = []
    for m, share in shares.items():
        name = SEEN_AS[m]
        if share:
            segments.append(element("i", class_=m, style=f"flex-grow:{share:.3f}"))
            told.append(element("span", element("i", class_=m), f"{name} {share:.0%}"))
        elif drops[m] <= -MIN_EVIDENCE:
            told.append(element("span", f"{name}: against it"))
        else:
            told.append(element("span", f"{name}: none"))
    if all(abs(drop) < MIN_EVIDENCE for drop in drops.values()):
        told = [element("span", "no evidence that can be seen in two digits")]
    bar = None
    if segments:
        bar = element("span", *segments, class_="bar", aria_hidden="true")
    heading = element("span", f"for {label}", class_="for")
    return element("p", heading, bar, *told, class_=f"shares of{k}")


def _seen(moment: Moment) -> Markup | None:
    """Return what was seen and heard meanwhile."""
    parts = []
    if moment.face is not None:
        parts.append(f"face seen {moment.face:.0%}" if moment.face else "no face seen")
    if moment.smile is not None:
        parts.append(f"smile {moment.smile:.2f}")
    if moment.voice is not None:
        parts.append(f"voiced {moment.voice:.0%}" if moment.voice else "no voice heard")
    if moment.energy is not None:
        parts.append(f"{moment.energy:.0f} dB")
    if not parts:
        return None
    return element("p", " · ".join(parts), class_="seen")
