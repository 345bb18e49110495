"""What comes out of a prediction on a video: utterances over time, with emotions and reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from emotailor.data.sample import Modality
from emotailor.errors import DataError
from emotailor.evaluation.notebook import html_table
from emotailor.extraction.base import Word
from emotailor.frames import data_frame
from emotailor.serving.curves import (
    Curve,
)
from emotailor.serving.prediction import MIN_EVIDENCE, Failure, Prediction

FORMAT = "emotailor-timeline"
SCHEMA_VERSION = 1
MOST_SHOWN = 20
"""Utterances that a notebook shows of a long video."""
SEEN_AS: Mapping[Modality, str] = {"visual": "face", "audio": "voice", "text": "words"}
"""Modality -> what a viewer of the video would call it."""


@dataclass(frozen=True)
class Moment:
    """An utterance, the emotions in it, and what was seen and heard meanwhile.

    Attributes:
        start: seconds.
        end: seconds.
        words: that are said.
        outcome: emotions and evidence, or why there are none.
        face: share of its time in which the face is seen; None where nobody looked for one.
        voice: share of its time in which the sound has a pitch; None where there is no sound.
        smile: mean of the smile, from 0 to 1; None where no face is seen.
        energy: mean loudness in dB; None where nothing is heard.
    """

    start: float
    end: float
    words: tuple[Word, ...]
    outcome: Prediction | Failure
    face: float | None = None
    voice: float | None = None
    smile: float | None = None
    energy: float | None = None

    @property
    def text(self) -> str:
        """What is said."""
        return " ".join(word.text for word in self.words)

    @property
    def prediction(self) -> Prediction | None:
        """The emotions; None where there is no prediction."""
        return self.outcome if isinstance(self.outcome, Prediction) else None

    @property
    def labels(self) -> list[str]:
        """The labels that hold, the most probable first."""
        return [] if self.prediction is None else self.prediction.labels

    def evidence(self, label: str) -> Float64[np.ndarray, "words"] | None:
        """Return how much each word speaks for a label; None where nobody measured it.

        It is the drop of the label's log-odds without the word and its neighbours; 0 for a word
        that the model did not see.
        """
        why = None if self.prediction is None else self.prediction.explanation
        drops = None if why is None else why.steps[label].get("text")
        if why is None or drops is None or "text" not in why.words:
            return None

        # of an utterance that was cut, the model saw the first words alone
        found = np.zeros(len(self.words))
        seen = min(len(drops), len(self.words))
        found[:seen] = drops[:seen]
        return found

    def because(self, label: str) -> str:
        """Return what spoke for a label, the strongest first: ``“so great”, the face``.

        Empty where nothing did, or nobody measured it.
        """
        why = None if self.prediction is None else self.prediction.explanation
        if why is None:
            return ""

        spoke = {m: drop for m, drop in why.modalities[label].items() if drop >= MIN_EVIDENCE}
        # some words may speak for what the words as a whole do not
        phrase = self._phrase(label)
        if phrase and "text" not in spoke:
            spoke["text"] = 0.0

        ordered = sorted(spoke, key=lambda m: -spoke[m])
        names = {m: f"the {SEEN_AS[m]}" for m in ordered}
        if phrase:
            names["text"] = f"“{phrase}”"
        return ", ".join(names[m] for m in ordered)

    def _phrase(self, label: str) -> str:
        """Return the words that spoke most for a label; empty where none did."""
        drops = self.evidence(label)
        if drops is None or drops.max(initial=0.0) < MIN_EVIDENCE:
            return ""
        assert self.prediction is not None and self.prediction.explanation is not None
        first, last = self.prediction.explanation.peak(label, "text")
        return " ".join(word.text for word in self.words[first : last + 1])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        value: dict[str, Any] = {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "text": self.text,
            "words": [_word_json(word) for word in self.words],
            "face": self.face,
            "voice": self.voice,
            "smile": self.smile,
            "energy": self.energy,
        }
        if isinstance(self.outcome, Failure):
            value["failure"] = self.outcome.to_json()
            return value

        value["because"] = {label: self.because(label) for label in self.labels}
        value["prediction"] = self.outcome.to_json()
        return value

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Moment":
        """Return what :meth:`to_json` told of."""
        outcome: Prediction | Failure
        if "failure" in values:
            told = values["failure"]
            outcome = Failure(told["id"], DataError(told["error"]), told.get("source", ""))
        else:
            outcome = Prediction.from_json(values["prediction"])
        return cls(
            start=values["start"],
            end=values["end"],
            words=tuple(Word(**word) for word in values["words"]),
            outcome=outcome,
            face=values["face"],
            voice=values["voice"],
            smile=values["smile"],
            energy=values["energy"],
        )


def _word_json(word: Word) -> dict[str, Any]:
    value = {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
    if word.probability is not None:
        value["probability"] = round(word.probability, 4)
    return value


@dataclass(frozen=True, repr=False)
class Timeline:
    """A video as a timeline of utterances.

    Attributes:
        source: the video, as it was given.
        duration: seconds.
        label_names: in the order of the model.
        thresholds: label -> the threshold above which it holds.
        model: what predicted, in words.
        evidence: the modalities that the model takes and the video has; others are shown alone.
        picture: whether the video has pictures.
        notes: what was done without, and why, one sentence each.
        moments: the utterances, in order of time.
        curves: something of face and voice over time, for the eye.
    """

    source: str
    duration: float
    label_names: tuple[str, ...]
    thresholds: Mapping[str, float]
    model: str
    evidence: tuple[Modality, ...]
    picture: bool = True
    notes: tuple[str, ...] = ()
    moments: tuple[Moment, ...] = ()
    curves: tuple[Curve, ...] = field(default=())

    @property
    def held(self) -> dict[str, int]:
        """Label -> number of utterances in which it holds, in the order of the model."""
        counts = dict.fromkeys(self.label_names, 0)
        for moment in self.moments:
            for label in moment.labels:
                counts[label] += 1
        return counts

    @property
    def predicted(self) -> int:
        """The number of utterances with a prediction."""
        return sum(moment.prediction is not None for moment in self.moments)

    @property
    def lack(self) -> str:
        """Why nothing is predicted, such as ``no words``; empty where anything is."""
        if self.predicted:
            return ""
        reasons = (m.outcome.error.found for m in self.moments if isinstance(m.outcome, Failure))
        return next(reasons, "no utterances")

    def decided_by(self, thresholds: Mapping[str, float]) -> "Timeline":
        """Return the same timeline with decisions by other thresholds.

        Evidence that nobody measured, as of utterances in which no label held, stays unknown.

        Args:
            thresholds: label -> threshold; a label that is not named keeps its own.

        Raises:
            DataError: there is no such label, or a threshold is not from 0 to 1.
        """
        for label, threshold in thresholds.items():
            if label not in self.label_names or not 0 <= threshold <= 1:
                raise DataError(
                    f"the threshold {threshold} of {label!r}",
                    expected=f"from 0 to 1, of one of {', '.join(self.label_names)}",
                )
        moments = []
        for moment in self.moments:
            found = moment.prediction
            decided = moment
            if found is not None:
                decided = replace(moment, outcome=found.decided_by(thresholds))
            moments.append(decided)
        # in the order of the model
        known = {**self.thresholds, **thresholds}
        return replace(self, thresholds=known, moments=tuple(moments))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "duration": round(self.duration, 3),
            "model": self.model,
            "labels": list(self.label_names),
            "thresholds": dict(self.thresholds),
            "evidence": list(self.evidence),
            "picture": self.picture,
            "notes": list(self.notes),
            "moments": [moment.to_json() for moment in self.moments],
            "curves": [curve.to_json() for curve in self.curves],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Timeline":
        """Return what :meth:`to_json` told of.

        Raises:
            DataError: it is no timeline, or one of a later version.
        """
        version = values.get("schema_version")
        if values.get("format") != FORMAT or version != SCHEMA_VERSION:
            raise DataError(
                f"{values.get('format')} of version {version}",
                expected=f"{FORMAT} of version {SCHEMA_VERSION}",
                fix="predict the video again with this version of emotailor",
            )
        return cls(
            source=values["source"],
            duration=values["duration"],
            label_names=tuple(values["labels"]),
            thresholds=values["thresholds"],
            model=values["model"],
            evidence=tuple(values["evidence"]),
            picture=values["picture"],
            notes=tuple(values["notes"]),
            moments=tuple(Moment.from_json(moment) for moment in values["moments"]),
            curves=tuple(Curve.from_json(curve) for curve in values["curves"]),
        )

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row per utterance.

        The columns are those of the CSV: ``start``, ``end``, ``text``, ``p:<label>`` for the
        probability of a label, ``<label>`` for whether it is predicted, ``threshold:<label>``.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = [self._row(moment) for moment in self.moments]
        return data_frame(rows, index="id")

    def _row(self, moment: Moment) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": moment.outcome.id,
            "source": self.source,
            "start": moment.start,
            "end": moment.end,
            "text": moment.text,
        }
        found = moment.prediction
        if found is None:
            return row
        for label, p in found.probabilities.items():
            row[f"p:{label}"] = p
        row |= found.decisions
        for label, threshold in found.thresholds.items():
            row[f"threshold:{label}"] = threshold
        return row

    def __repr__(self) -> str:
        head = f"Timeline of {self.source}, {clock(self.duration)}, {self.model}"
        lines = [_line(moment) for moment in self.moments[:MOST_SHOWN]]
        rest = len(self.moments) - len(lines)
        if rest:
            lines.append(f"... {rest} more utterances")
        lines += [f"note: {note}" for note in self.notes]
        return "\n  ".join([head, *lines])

    def _repr_html_(self) -> str:
        rows = []
        for moment in self.moments[:MOST_SHOWN]:
            emotions = "; ".join(told_emotions(moment)) or "-"
            rows.append((clock(moment.start), moment.text, emotions))

        rest = len(self.moments) - len(rows)
        if rest:
            rows.append((f"... {rest} more", "", ""))
        return html_table(("time", "what is said", "emotions"), rows, caption=self.source)


def _line(moment: Moment) -> str:
    emotions = ", ".join(told_emotions(moment)) or "none of the labels"
    return f"{clock(moment.start)}  {emotions}: {moment.text}"


def told_emotions(moment: Moment) -> list[str]:
    """Return the emotions of an utterance with their probabilities, or why there are none."""
    if isinstance(moment.outcome, Failure):
        return [f"not predicted: {moment.outcome.error.found}"]
    found = moment.outcome.probabilities
    return [f"{label} {found[label]:.2f}" for label in moment.labels]


def clock(seconds: float) -> str:
    """Return a time as ``m:ss``, or ``h:mm:ss`` from an hour on; parts of a second are dropped."""
    whole = int(max(seconds, 0.0))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minute:02}:{second:02}"
    return f"{minute}:{second:02}"
