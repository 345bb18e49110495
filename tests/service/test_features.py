"""Requests with features: the command line's numbers, and one clear answer to anything else."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from emotailor.data.sample import Sample
from emotailor.service.app import Service, ServiceJob
from emotailor.service.config import Limits
from emotailor.service.errors import RequestError
from emotailor.service.features import Question, read_json_question
from emotailor.service.model import ModelThread
from tests.helpers import DIMS, random_samples
from tests.runs.runs import run_cli
from tests.service.serving import MadeVideos, Place, made_job, serving

COUNT = 11


def as_lists(sample: Sample) -> dict[str, Any]:
    return {"id": sample.id, **{m: x.tolist() for m, x in sample.sequences.items()}}


def stored(sample: Sample, folder: Path, number: int) -> Path:
    """The sample as a file for the command line."""
    file = folder / f"{number}.npz"
    arrays: dict[str, Any] = {m: x[None] for m, x in sample.sequences.items()}
    np.savez(file, id=np.array([sample.id]), **arrays)
    return file


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return random_samples(COUNT, seed=5, missing=0.3)


@pytest.fixture(scope="module")
def by_command(
    run: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What the command line predicts of each sample alone."""
    folder = tmp_path_factory.mktemp("samples")
    found = []
    for number, sample in enumerate(samples):
        done = run_cli("predict", run, stored(sample, folder, number), "--json", "--no-explain")
        assert done.code == 0, done.err
        prediction = json.loads(done.out)
        del prediction["source"]
        found.append(prediction)
    return found


def test_numbers_are_those_of_the_command_line_whoever_asks_beside(
    place: Place, samples: list[Sample], by_command: list[dict[str, Any]]
) -> None:
    asked = [as_lists(sample) for sample in samples] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda sample: place.predict({"samples": [sample]}), asked))
    assert [answer.status for answer in answers] == [200] * len(asked)
    found = [answer.json["predictions"] for answer in answers]
    assert found == [[prediction] for prediction in by_command] * 4


def test_several_samples_and_evidence_are_those_of_the_command_line(
    place: Place, run: Path, samples: list[Sample], tmp_path: Path
) -> None:
    files = [stored(sample, tmp_path, number) for number, sample in enumerate(samples)]
    done = run_cli("predict", run, *files, "--json", "--explain")
    expected = [json.loads(line) for line in done.out.splitlines()]
    for prediction in expected:
        del prediction["source"]
    asked = {"samples": [as_lists(sample) for sample in samples], "explain": True}
    assert place.predict(asked).json == {"predictions": expected}


def test_safetensors_and_json_are_the_same_question(place: Place, samples: list[Sample]) -> None:
    tensors = {f"{s.id}/{m}": x for s in samples for m, x in s.sequences.items()}
    packed = place.post(
        "/v1/predict?explain=true", save(tensors), content_type="application/vnd.safetensors"
    )
    asked = {"samples": [as_lists(sample) for sample in samples], "explain": True}
    expected = {p["id"]: p for p in place.predict(asked).json["predictions"]}
    found = {p["id"]: p for p in packed.json["predictions"]}
    assert len(found) == COUNT
    # alone and beside others the last bits may differ, and the order of a file is its own
    for sample_id, prediction in found.items():
        for label, p in prediction["probabilities"].items():
            assert p == pytest.approx(expected[sample_id]["probabilities"][label], abs=1e-6)

    one = {str(m): x for m, x in samples[0].sequences.items()}
    alone = place.post("/v1/predict", save(one), content_type="application/octet-stream")
    assert [p["id"] for p in alone.json["predictions"]] == ["sample"]

    number = {"text": np.zeros(())}
    refused = place.post("/v1/predict", save(number), content_type="application/octet-stream")
    assert [set(p) for p in refused.json["predictions"]] == [{"id", "error"}]


def test_one_bad_sample_does_not_lose_the_others(place: Place) -> None:
    good = np.zeros((2, DIMS["text"])).tolist()
    far = [[1e308] * DIMS["text"]]
    asked = [{"text": good}, {"text": [[0.0]]}, {"text": far}, {"words": ["so"]}, 3, {"other": 1}]
    predictions = place.predict({"samples": asked}).json["predictions"]
    assert [set(p) == {"id", "error"} for p in predictions] == [False] + [True] * 5
    assert [p["id"] for p in predictions] == [f"sample {k}" for k in range(1, 7)]
    assert "finite" in predictions[2]["error"]


def question(**changes: Any) -> bytes:
    return json.dumps({"samples": [{"text": [[0.0] * DIMS["text"]], **changes}]}).encode()


def test_millions_of_arrays_are_not_even_parsed() -> None:
    few = Limits(samples=1, steps=1)
    for count, found in ((99_000, "99,001 samples"), (101_000, "101,003 arrays")):
        body = b'{"samples": [' + b"[]," * count + b"[]]}"
        with pytest.raises(RequestError, match=found):
            read_json_question(body, few)


DEEP = 50_000
HOSTILE = {
    "nothing": (b"", 400),
    "no JSON": (b"\xff\xfe", 400),
    "NaN": (b'{"samples": [{"text": [[NaN]]}]}', 400),
    "Infinity": (b'{"samples": [{"text": [[-Infinity]]}]}', 400),
    "an integer of many digits": (b'{"samples": [{"text": [[' + b"9" * 5000 + b"]]}]}", 400),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, 400),
    "deep tables": (b'{"samples":' * DEEP + b"1" + b"}" * DEEP, 400),
    "a list": (b"[]", 422),
    "no samples": (b"{}", 422),
    "none": (b'{"samples": []}', 422),
    "a table of samples": (b'{"samples": {"a": 1}}', 422),
    "another key": (b'{"samples": [], "more": 1}', 422),
    "explain as text": (b'{"samples": [{}], "explain": "yes"}', 422),
    "two of one id": (b'{"samples": [{"id": "a"}, {"id": "a"}]}', 422),
    "an id that is a number": (question(id=3), 422),
    "an id with a line break": (question(id="a\nb"), 422),
    "half a character": (question(id="\ud800"), 422),
    "an id that is too long": (question(id="x" * 501), 422),
    "too many samples": (json.dumps({"samples": [{}] * 257}).encode(), 422),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_question_is_refused(place: Place, name: str) -> None:
    body, status = HOSTILE[name]
    answer = place.post("/v1/predict", body, content_type="application/json")
    assert answer.status == status
    assert answer.error["expected"]


FAILING = {
    "another width": {"text": [[0.0] * 3]},
    "a vector": {"text": [0.0] * DIMS["text"]},
    "uneven rows": {"text": [[0.0], [0.0, 1.0]]},
    "texts": {"text": [["a"] * DIMS["text"]]},
    "an integer beyond floats": {"text": [[10**400] * DIMS["text"]]},
    "a table": {"text": {"a": 1}},
    "lists in lists": {"text": [[[[[0.0]]]]]},
    "no steps": {"text": []},
    "too many steps": {"text": [[0.0] * DIMS["text"]] * 2001},
    "more than the model takes": {"text": [[0.0] * DIMS["text"]] * 14},
    "words that are numbers": {"text": [[0.0] * DIMS["text"]], "words": [1]},
    "half a word": {"text": [[0.0] * DIMS["text"]], "words": ["\ud800"]},
    "other words than steps": {"text": [[0.0] * DIMS["text"]], "words": ["so", "great"]},
    "another modality": {"smell": [[0.0]]},
    "large beyond measure": {"text": [[3e38] * DIMS["text"]]},
}


@pytest.mark.parametrize("name", FAILING)
def test_what_is_no_sample_is_a_failure_in_its_place(place: Place, name: str) -> None:
    for explain in (False, True):
        answer = place.predict({"samples": [FAILING[name]], "explain": explain})
        assert answer.status == 200
        (prediction,) = answer.json["predictions"]
        assert prediction["id"] == "sample"
        # a value that float32 holds may be predicted, but no evidence may be infinite
        assert name == "large beyond measure" or set(prediction) == {"id", "error"}


def header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


TENSORS = {
    "nothing": b"",
    "a header beyond the file": (2**40).to_bytes(8, "little") + b"{}",
    "no JSON": header(b"{nothing"),
    "deep JSON": header(b'{"text":' * 5000 + b"1" + b"}" * 5000),
    "an offset beyond the file": header(
        b'{"text":{"dtype":"F32","shape":[1,11],"data_offsets":[0,44]}}'
    ),
    "a type without numbers": header(b'{"text":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}')
    + b"\0\0",
    "another name": save({"smell": np.zeros((1, 2))}),
    "no tensors": save({}),
    "a name without an id": save({"/text": np.zeros((1, 2))}),
    "a name that is none": save({"a\nb/text": np.zeros((1, 2))}),
}


@pytest.mark.parametrize("name", TENSORS)
def test_what_are_no_tensors_is_refused(place: Place, name: str) -> None:
    answer = place.post("/v1/predict", TENSORS[name], content_type="application/octet-stream")
    assert answer.status in (400, 422)
    assert answer.error["found"]


def test_another_type_is_refused(place: Place) -> None:
    answer = place.post("/v1/predict", b"a=1", content_type="application/x-www-form-urlencoded")
    assert answer.status == 415
    pickled = place.post("/v1/predict", b"\x80\x04N.", content_type="application/octet-stream")
    assert pickled.status == 400


# ---------------------------------------------------------------------- together


def test_requests_of_a_moment_go_together_and_one_whose_client_has_gone_does_not() -> None:
    import asyncio

    computed: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def answer(asked: Any) -> list[int | Exception]:
        computed.append(list(asked))
        begun.set()
        assert go_on.wait(10)
        return [ValueError(str(one)) if one < 0 else one * one for one in asked]

    model: ModelThread[int, int] = ModelThread(answer, most_waiting=4)

    async def scene() -> list[Any]:
        first = asyncio.ensure_future(model.ask(1))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.ensure_future(model.ask(number)) for number in (2, -3, 4, 5)]
        await asyncio.sleep(0)
        refused = await asyncio.gather(model.ask(6), return_exceptions=True)
        others[2].cancel()
        await asyncio.sleep(0)
        go_on.set()
        return [*await asyncio.gather(first, *others, return_exceptions=True), *refused]

    with model.running():
        found = asyncio.run(scene())
        assert model.call(lambda: "between") == "between"
    assert computed == [[1], [2, -3, 5]]
    assert [repr(one) for one in found[:3]] == ["1", "4", "ValueError('-3')"]
    assert isinstance(found[3], asyncio.CancelledError)
    assert found[4] == 25
    assert "4 requests that wait" in str(found[5])


def test_a_request_is_awaited_only_while_one_is_on_its_way() -> None:
    import asyncio

    computed: list[list[int]] = []

    def answer(asked: Any) -> list[int]:
        computed.append(list(asked))
        return list(asked)

    model: ModelThread[int, int] = ModelThread(answer, most_waiting=4)

    async def scene() -> None:
        with model.on_its_way():
            first = asyncio.ensure_future(model.ask(1))
            await asyncio.sleep(0)
            second = asyncio.ensure_future(model.ask(2))
        await asyncio.gather(first, second)

    with model.running():
        asyncio.run(scene())
    assert computed in ([[1, 2]], [[1], [2]])


def test_jointly_the_answers_are_in_their_places(run: Path, samples: list[Sample]) -> None:
    """In one pass over all; equal but for the last bits."""
    service = Service(ServiceJob(MadeVideos(run, (), device="cpu"), jointly=True), made_access())
    questions = [
        Question([samples[0]], False),
        Question(samples[1:3], True),
        Question([samples[3]], False),
    ]
    found = service.model._answer_all(questions)
    assert [[p["id"] for p in answer] for answer in found if isinstance(answer, list)] == [
        [samples[0].id],
        [samples[1].id, samples[2].id],
        [samples[3].id],
    ]
    for question, answer in zip(questions, found, strict=True):
        assert isinstance(answer, list)
        for sample, prediction in zip(question.samples, answer, strict=True):
            assert isinstance(sample, Sample)
            alone = service.predictor.predict(sample)
            assert ("explanation" in prediction) == question.explain
            for label, p in alone.probabilities.items():
                assert prediction["probabilities"][label] == pytest.approx(p, abs=1e-6)


def made_access() -> Any:
    from emotailor.service.access import Access

    return Access()


def test_limits_are_told_and_kept(run: Path) -> None:
    limits = Limits(body=2000, samples=2, steps=3)
    with serving(made_job(run, limits)) as (place, _):
        told = place.get("/v1/model").json["limits"]
        assert (told["most_body_bytes"], told["most_samples"], told["most_steps"]) == (2000, 2, 3)
        assert place.predict({"samples": [{}] * 3}).status == 422
        long = place.predict({"samples": [{"text": [[0] * DIMS["text"]] * 4}]})
        assert "4 steps" in long.json["predictions"][0]["error"]
        assert place.predict({"samples": [{"id": "x" * 2000}]}).status == 413
