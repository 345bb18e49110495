"""Requests with features: from a body to samples, and from predictions to an answer."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np

from emotailor.data.sample import MODALITIES, Sample
from emotailor.errors import DataError, ModelError
from emotailor.service.config import Limits
from emotailor.service.errors import RequestError
from emotailor.serving.given import NAMELESS, as_sample
from emotailor.serving.prediction import Failure, Prediction
from emotailor.serving.samples import SamplePredictor
from emotailor.text import NAME, is_name

JSON = "application/json"
SAFETENSORS = ("application/vnd.safetensors", "application/octet-stream")

LONGEST_ID = 500
"""Characters of an id."""

SPARE_ARRAYS = 100_000
"""Arrays and tables that JSON may have beside those of features; brackets in words count, too."""

EXPECTED = '{"samples": [{"id": "one", "text": [[0.1, …], …]}], "explain": false}'


@dataclass(frozen=True)
class Question:
    """What a request asks of the model.

    Attributes:
        samples: to predict; failures keep their places.
        explain: whether evidence is measured.
    """

    samples: Sequence[Sample | Failure]
    explain: bool


def read_json_question(body: bytes, limits: Limits) -> Question:
    """Return the question in a body of JSON.

    Raises:
        RequestError: it is no JSON, not of this form, or beyond the limits.
    """
    _check_arrays(body, limits)
    given = _parsed(body)
    if not isinstance(given, dict):
        raise _malformed(f"a {type(given).__name__}")
    others = [key for key in given if key not in ("samples", "explain")]
    if others:
        raise _malformed(f"the key {others[0][:100]!r}")

    samples = given.get("samples")
    explain = given.get("explain", False)
    if not isinstance(samples, list) or not isinstance(explain, bool):
        raise _malformed("samples that are no list, or explain that is neither true nor false")
    return Question(_samples(samples, limits), explain)


def read_tensor_question(body: bytes, explain: bool, limits: Limits) -> Question:
    """Return the question in a body of safetensors: ``text`` or, for several, ``ID/text``.

    Raises:
        RequestError: it is none, has other names, or is beyond the limits.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(body)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            f"no safetensors: {str(error)[:200]}",
            expected="a file of safetensors with float32, float16 or float64",
            fix="save it with safetensors.numpy.save",
        ) from error

    samples: dict[str, dict[str, Any]] = {}
    for name, array in tensors.items():
        sample_id, slash, modality = name.rpartition("/")
        is_named = bool(sample_id) or not slash
        if modality not in MODALITIES or not is_named:
            raise RequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"a tensor {name[:200]!r}",
                expected=f"ID/MODALITY, or one of {', '.join(MODALITIES)} of a single sample",
            )
        named = {"id": sample_id} if sample_id else {}
        samples.setdefault(sample_id, named)[modality] = array
    return Question(_samples(list(samples.values()), limits), explain)


def _check_arrays(body: bytes, limits: Limits) -> None:
    """Refuse more arrays than samples can have: while millions are made, nobody else is answered.

    Raises:
        RequestError: there are more.
    """
    most = SPARE_ARRAYS + limits.samples * len(MODALITIES) * limits.steps
    arrays = body.count(b"[") + body.count(b"{")
    if arrays > most:
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{arrays:,} arrays",
            expected=f"at most {most:,}",
            fix="send fewer samples, in several requests",
        )


def _parsed(body: bytes) -> Any:
    """Return what JSON tells.

    Raises:
        RequestError: it is none.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            f"no JSON: {str(error)[:200]}",
            expected=EXPECTED,
            fix="NaN and Infinity are no JSON: replace them",
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _malformed(found: str) -> RequestError:
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, found, expected=EXPECTED)


# ---------------------------------------------------------------------- samples


def _samples(given: Sequence[Any], limits: Limits) -> list[Sample | Failure]:
    """Return what was given as samples; one that is none becomes a failure in its place.

    Raises:
        RequestError: there are too many or none, or two have one id.
    """
    if not 1 <= len(given) <= limits.samples:
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{len(given):,} samples",
            expected=f"1 to {limits.samples:,}",
            fix="send several requests",
        )

    found: list[Sample | Failure] = []
    taken: set[str] = set()
    for place, item in enumerate(given):
        sample_id = _id_of(item, place, len(given))
        if sample_id in taken:
            raise RequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"two samples with the id {sample_id!r}",
                expected="an id for each",
                fix="name them differently, or not at all",
            )
        taken.add(sample_id)
        try:
            found.append(_sample(item, sample_id, limits))
        except DataError as error:
            found.append(Failure(sample_id, error))
    return found


def _id_of(item: Any, place: int, count: int) -> str:
    """Return the id of a sample; of one without, its place.

    Raises:
        RequestError: it is no name.
    """
    given = item.get("id") if isinstance(item, Mapping) else None
    if given is None:
        return NAMELESS if count == 1 else f"{NAMELESS} {place + 1}"
    if not isinstance(given, str) or not is_name(given) or len(given) > LONGEST_ID:
        # anything else may be nested too deep to be shown
        shown = repr(given[:100]) if isinstance(given, str) else f"a {type(given).__name__}"
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the id {shown} at place {place}",
            expected=f"{NAME}, {LONGEST_ID} characters at most",
        )
    return given


def _sample(item: Any, sample_id: str, limits: Limits) -> Sample:
    """Return a sample.

    Raises:
        DataError: it is none, or too long.
    """
    if not isinstance(item, Mapping):
        raise DataError(f"a {type(item).__name__}", expected='a table such as {"text": [[0.1]]}')
    given = {key: value for key, value in item.items() if value is not None}
    words = given.get("words")
    if words is not None and not _are_words(words):
        raise DataError("words that are no list of texts", expected='such as ["so", "great"]')

    for m in MODALITIES:
        steps = _length(given.get(m))
        if steps > limits.steps:
            raise DataError(
                f"{m} of {steps:,} steps",
                expected=f"at most {limits.steps:,}",
                fix="cut it, or start the service with a larger --max-steps",
            )
    return as_sample({**given, "id": sample_id})


def _length(array: Any) -> int:
    """Return how long an array is; 0 of what is none, which others refuse."""
    if isinstance(array, np.ndarray):
        return array.shape[0] if array.ndim else 0
    return len(array) if isinstance(array, list) else 0


def _are_words(words: Any) -> bool:
    if not isinstance(words, list):
        return False
    return all(isinstance(word, str) and _is_text(word) for word in words)


def _is_text(word: str) -> bool:
    """Whether UTF-8 can hold a word; halves of pairs are no characters."""
    return not any("\ud800" <= letter <= "\udfff" for letter in word)


# ---------------------------------------------------------------------- answers


def answer_each(
    predictor: SamplePredictor, questions: Sequence[Question]
) -> list[list[dict[str, Any]] | Exception]:
    """Return the predictions of each question, one after the other.

    Each is computed as the command line computes a file with the same samples: a pass over the
    samples of several questions would change the last bits of some.
    """
    answers: list[list[dict[str, Any]] | Exception] = []
    for question in questions:
        try:
            answers.append(list(_answers(predictor, question.samples, question.explain)))
        except Exception as error:  # of one request, not of its neighbours
            answers.append(error)
    return answers


def answer_jointly(
    predictor: SamplePredictor, questions: Sequence[Question]
) -> list[list[dict[str, Any]] | Exception]:
    """Return the predictions of each question, those of all questions from passes together.

    The last bits of a probability depend on what is computed beside it.
    """
    answers: list[list[dict[str, Any]] | Exception] = [[] for _ in questions]
    for explain in (False, True):
        chosen = [k for k, question in enumerate(questions) if question.explain is explain]
        samples = [sample for k in chosen for sample in questions[k].samples]
        found = _answers(predictor, samples, explain)
        for k in chosen:
            answers[k] = [next(found) for _ in questions[k].samples]
    return answers


def _answers(
    predictor: SamplePredictor, samples: Sequence[Sample | Failure], explain: bool
) -> Iterator[dict[str, Any]]:
    # what becomes infinite is a failure, and nobody reads warnings here
    with np.errstate(over="ignore", invalid="ignore"):
        outcomes = list(predictor.stream(samples, explain=explain))
    for outcome in outcomes:
        yield _finite(outcome).to_json()


def _finite(outcome: Prediction | Failure) -> Prediction | Failure:
    """Return an outcome that JSON can hold."""
    try:
        json.dumps(outcome.to_json(), allow_nan=False)
    except ValueError:
        error = ModelError(
            "evidence that is not finite",
            expected="features of a usual size",
            fix="look at the features: some are absurdly large",
        )
        return Failure(outcome.id, error)
    return outcome
