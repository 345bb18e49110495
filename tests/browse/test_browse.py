"""Lists and pages of samples: what is in them, in which order, and where they lead."""

import html
import re
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from starlette import testclient

from emotailor.browse.app import new_browser
from emotailor.browse.choice import Choice, chosen, who_is_right
from emotailor.browse.evidence import Evidence
from emotailor.browse.judged import Judged, open_judged, open_other
from emotailor.data.dataset import EmotionDataset
from emotailor.errors import DataError, ModelError
from emotailor.evaluation.thresholds import Thresholds
from emotailor.files import sha256_of
from emotailor.runs.run import Run
from emotailor.service.access import Access
from emotailor.training.model_folder import read_model_card, save_card
from tests.browser import browser, opened, serious_faults
from tests.helpers import DIMS, LABELS
from tests.runs.runs import run_cli, train_tiny

# by hand: the samples are 0 to 6, the labels happy, sad and angry
TRUE = ["100", "110", "001", "000", "011", "101", "010"]
NAMED = ["100", "100", "011", "000", "111", "010", "010"]
OTHER = ["100", "110", "001", "100", "011", "101", "100"]
P = [
    [0.9, 0.1, 0.1],
    [0.8, 0.4, 0.1],  # sad is missed by little
    [0.1, 0.9, 0.7],  # sad is named, and not true
    [0.2, 0.3, 0.2],
    [0.6, 0.7, 0.8],  # happy is named by little, and not true
    [0.02, 0.6, 0.3],  # happy is surely missed, angry by more, sad is named by little
    [0.4, 0.99, 0.1],
]
THRESHOLDS = [0.5, 0.5, 0.5]
SAID = ["so happy", "Well well", "I am SO sad", "", "so it is", "no", "straße"]


def cells(rows: Sequence[str]) -> np.ndarray:
    return np.array([[cell == "1" for cell in row] for row in rows], np.bool_)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(data, tmp_path_factory.mktemp("runs") / "first", epochs=1)


@pytest.fixture(scope="module")
def real(run: Path) -> Judged:
    return open_judged(run, device="cpu")


@pytest.fixture(scope="module")
def one(real: Judged) -> Judged:
    """Answers that are made up, on the samples of a real run."""
    return replace(
        real,
        part=with_words(real, SAID),
        true=cells(TRUE),
        named=cells(NAMED),
        probabilities=np.array(P, np.float64),
        thresholds=np.array(THRESHOLDS, np.float64),
    )


@pytest.fixture(scope="module")
def other(one: Judged) -> Judged:
    far = np.array(P, np.float64)
    far[3] = [0.98, 0.3, 0.2]  # happy: .2 of A
    far[6] = [0.7, 0.4, 0.1]  # sad: .99 of A
    return replace(one, name="runs/second", named=cells(OTHER), probabilities=far)


def with_words(judged: Judged, said: Sequence[str]) -> Any:
    """Return the samples of a run with other words, a step for each."""
    samples = []
    for sample, text in zip(judged.part, said, strict=True):
        words = text.split()
        steps = len(words) or 1
        sequences = {m: np.resize(x, (steps, x.shape[1])) for m, x in sample.sequences.items()}
        samples.append(replace(sample, sequences=sequences, words=words or None))
    made = EmotionDataset.from_samples(
        {"test": samples}, name="made", label_names=LABELS, dims=DIMS, aligned=True
    )
    return made["test"]


def client(one: Judged, other: Judged | None = None) -> Any:
    return testclient.TestClient(new_browser(one, other, Access()).guarded, "http://127.0.0.1")


def listed(one: Judged, other: Judged | None = None, **choice: Any) -> list[int]:
    return chosen(one, other, Choice(**choice)).tolist()


def numbers_on(page: str) -> list[int]:
    """Return the samples that a page lists."""
    return [int(found) for found in re.findall(r'href="/sample/(\d+)[^"]*" class="id"', page)]


# ---------------------------------------------------------------------- lists by hand


@pytest.mark.parametrize(
    ("label", "show", "expected"),
    [
        ("", "all", [0, 1, 2, 3, 4, 5, 6]),
        ("", "right", [0, 3, 6]),
        ("", "wrong", [1, 2, 4, 5]),
        ("", "false-positive", [2, 4, 5]),
        ("", "false-negative", [1, 5]),
        ("", "true", [0, 1, 2, 4, 5, 6]),
        ("happy", "all", [0, 1, 2, 3, 4, 5, 6]),
        ("happy", "true", [0, 1, 5]),
        ("happy", "named", [0, 1, 4]),
        ("happy", "right", [0, 1, 2, 3, 6]),
        ("happy", "wrong", [4, 5]),
        ("happy", "false-positive", [4]),
        ("happy", "false-negative", [5]),
        ("sad", "false-positive", [2, 5]),
        ("sad", "false-negative", [1]),
        ("angry", "wrong", [5]),
    ],
)
def test_which_samples_are_listed(one: Judged, label: str, show: str, expected: list[int]) -> None:
    assert listed(one, label=label, show=show) == expected
    page = client(one).get("/", params={"label": label, "show": show}).text
    assert numbers_on(page) == expected
    assert f"{len(expected)} samples of 7" in page or len(expected) == 1


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        # log-odds beyond 0: happy of 5 3.9, sad of 2 2.2, sad of 1 and happy of 4 0.4
        ({"order": "confident"}, [5, 2, 1, 4, 0, 3, 6]),
        ({"order": "confident", "label": "sad"}, [2, 1, 5, 0, 3, 4, 6]),
        ({"order": "confident", "label": "happy", "show": "wrong"}, [5, 4]),
        # of 5 the missed happy counts no more, but its sad, .6 as the happy of 4
        ({"order": "confident", "show": "false-positive"}, [2, 4, 5]),
        ({"order": "probable", "label": "angry"}, [4, 2, 5, 3, 0, 1, 6]),
        ({"order": "id"}, [0, 1, 2, 3, 4, 5, 6]),
        ({"words": "so"}, [0, 2, 4]),
        ({"words": "  SAD so "}, [2]),
        ({"words": "strasse"}, [6]),
        ({"words": "test3"}, [3]),
        ({"words": "<script>"}, []),
        ({"words": "so", "show": "right"}, [0]),
    ],
)
def test_order_and_search(one: Judged, choice: dict[str, Any], expected: list[int]) -> None:
    assert listed(one, **choice) == expected
    assert numbers_on(client(one).get("/", params=choice).text) == expected


def test_two_runs_by_hand(one: Judged, other: Judged) -> None:
    counted = {k: np.flatnonzero(v).tolist() for k, v in who_is_right(one, other).items()}
    assert counted == {
        "all": [0, 1, 2, 3, 4, 5, 6],
        "differ": [1, 2, 3, 4, 5, 6],
        "both": [0],
        "a": [3, 6],
        "b": [1, 2, 4, 5],
        "neither": [],
    }
    of_sad = {k: np.flatnonzero(v).tolist() for k, v in who_is_right(one, other, "sad").items()}
    assert of_sad["a"] == [6]
    assert of_sad["b"] == [1, 2, 5]
    assert of_sad["both"] == [0, 3, 4]
    assert listed(one, other, who="a") == [3, 6]
    # 6: sad .99 and .4; 3: happy .2 and .98; the others are alike
    assert listed(one, other, order="apart") == [3, 6, 0, 1, 2, 4, 5]
    assert listed(one, other, order="apart", label="sad") == [6, 0, 1, 2, 3, 4, 5]

    page = client(one, other).get("/", params={"who": "b", "label": "sad"}).text
    assert numbers_on(page) == [1, 2, 5]
    counts = re.findall(r'aria-label="([^"]*), (\d+) samples?">(\d+)</a>', page)
    assert ("all labels: B alone is right", "4", "4") in counts
    assert ("sad: A alone is right", "1", "1") in counts


def test_counts_lead_to_what_they_count(one: Judged) -> None:
    page = client(one).get("/").text
    links = re.findall(r'<a href="(/\?[^"#]*)#samples" aria-label="[^"]*">(\d+)</a>', page)
    assert len(links) == 12
    for address, count in links:
        found = numbers_on(client(one).get(html.unescape(address)).text)
        assert len(found) == int(count), address


def test_pages_of_a_long_list(one: Judged) -> None:
    rows = np.arange(20_000) % 7
    many = replace(
        one,
        part=one.part.take(rows),
        true=one.true[rows],
        named=one.named[rows],
        probabilities=one.probabilities[rows],
    )
    asked = client(many)
    first = asked.get("/").text
    assert numbers_on(first) == list(range(50))
    assert "20,000 samples of 20,000, 1 to 50" in first
    last = asked.get("/?page=400").text
    assert numbers_on(last) == list(range(19_950, 20_000))
    assert 'rel="prev"' in last
    assert 'rel="next"' not in last
    # what is beyond the end is the end
    assert numbers_on(asked.get("/?page=99999").text) == list(range(19_950, 20_000))
    assert "2,857 samples of 20,000, 1 to 50" in asked.get("/?label=angry&show=wrong").text


# ---------------------------------------------------------------------- a sample


def test_the_way_through_a_list(one: Judged) -> None:
    asked = client(one)
    page = asked.get("/sample/2", params={"show": "wrong", "order": "confident"}).text
    assert ">2 of 4<" in page
    before = re.search(r'href="([^"]*)" rel="prev"', page)
    after = re.search(r'href="([^"]*)" rel="next"', page)
    assert before is not None and after is not None
    assert before[1].startswith("/sample/5?")
    assert after[1].startswith("/sample/1?")
    assert ">3 of 4<" in asked.get(html.unescape(after[1])).text
    assert "not in the list" in asked.get("/sample/0", params={"show": "wrong"}).text


def test_truth_stands_beside_prediction(one: Judged) -> None:
    page = client(one).get("/sample/5").text
    rows = re.findall(r"<tr class=\"(?:plain|marked)\">(.*?)</tr>", page, re.DOTALL)
    told = [re.sub(r"<[^>]*>", "|", row) for row in rows[:3]]
    told = [re.sub(r"\|+", "|", row).strip("|") for row in told]
    assert told == [
        "sad|no|named: not true|0.600|0.500",
        "angry|yes|not named: missed|0.300|0.500",
        "happy|yes|not named: missed|0.020|0.500",
    ]
    # the surest mistake is what evidence is shown of
    assert "Evidence for happy" in page


def test_evidence_is_that_of_the_model(one: Judged) -> None:
    why = one.predictor.explain(one.part.sample(2))
    page = client(one).get("/sample/2?evidence=sad").text
    assert "Evidence for sad" in page
    drops = why.modalities["sad"]
    whole = sum(abs(drop) for drop in drops.values())
    for modality, drop in drops.items():
        assert re.search(rf"{modality}</th><td[^>]*>{re.escape(f'{drop:+.2f}')}", page)
        assert f">{abs(drop) / whole:.0%}<" in page
    assert [word for word in ("I", "am", "SO", "sad") if f">{word}</span>" in page]
    assert "evidence of each step of audio for sad" in page


def test_evidence_is_measured_once_and_not_kept_for_ever(
    one: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    explain = type(one.predictor).explain

    def counted(self: Any, sample: Any, **more: Any) -> Any:
        asked.append(sample.id)
        return explain(self, sample, **more)

    monkeypatch.setattr(type(one.predictor), "explain", counted)
    evidence = Evidence(one, kept=2)
    first = evidence.of(0)
    assert evidence.of(0) is first
    evidence.of(1)
    evidence.of(0)
    evidence.of(2)  # 1 was asked for longest ago
    assert len(evidence) == 2
    assert len(asked) == 3
    evidence.of(0)
    assert len(asked) == 3
    evidence.of(1)
    assert len(asked) == 4


def test_two_runs_beside_each_other(one: Judged, other: Judged) -> None:
    page = client(one, other).get("/sample/6").text
    assert page.count("<article>") == 2
    assert "A: " in page
    assert "B: runs/second" in page
    # where they differ most
    assert "Evidence for sad" in page
    assert "probability of B" in page


def test_what_is_not_there(one: Judged) -> None:
    asked = client(one)
    for address in ("/sample/7", "/sample/-1", "/sample/x", "/sample/99999999999999", "/nothing"):
        assert asked.get(address).status_code == 404, address
    # what makes no sense is left out
    page = asked.get("/?label=no&show=no&who=a&order=no&page=-3")
    assert numbers_on(page.text) == [0, 1, 2, 3, 4, 5, 6]
    assert (
        testclient.TestClient(new_browser(one, None, Access()).guarded, "http://evil.example")
        .get("/")
        .status_code
        == 403
    )


# ---------------------------------------------------------------------- whatever data hold

HOSTILE = (
    "<script>alert(1)</script>",
    "a\"b'c&amp;",
    "\u202eevil",
    "x" * 3000,
    "../../etc/passwd",
    "'; DROP TABLE",
    "\u05d0\u05d1\u05d2",
)


def test_hostile_names_and_words_show_as_they_are(real: Judged) -> None:
    named = replace(real, part=replace(with_words(real, HOSTILE), ids=HOSTILE))
    asked = client(named)
    for address in ("/", "/?words=<script>", *(f"/sample/{place}" for place in range(7))):
        page = asked.get(address).text
        assert "<script>alert" not in page
        assert page.count("<script") == 1  # ours
        assert "\u202e" not in page
        assert "x" * 2500 not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in asked.get("/sample/0").text
    assert numbers_on(asked.get("/", params={"words": "<script>"}).text) == [0]


def test_data_without_words_and_a_sample_that_nobody_sees(real: Judged) -> None:
    blind = replace(real.part.sample(0), sequences={}, words=None)
    asked = client(real)
    page = asked.get("/").text
    assert numbers_on(page) == [0, 1, 2, 3, 4, 5, 6]
    assert '<p class="spoken"' not in asked.get("/sample/0").text
    assert real.predictor.can_see(blind) is False


# ---------------------------------------------------------------------- from runs


def test_stored_predictions_are_used_and_made_once(
    run: Path, real: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotailor.browse import judged

    assert (run / "predictions-test.csv").is_file()
    found = Run.open(run).predictions()
    assert found is not None
    assert (real.probabilities == found.probabilities).all()
    expected = real.predictor.predict_proba(real.part)
    assert np.abs(real.probabilities - expected).max() < 1e-5

    before = sha256_of(run / "predictions-test.csv")
    monkeypatch.setattr(judged, "evaluate_run", None)
    again = open_judged(run, device="cpu")
    assert (again.named == real.named).all()
    assert sha256_of(run / "predictions-test.csv") == before


def changed(run: Path, folder: Path, **changes: Any) -> Path:
    """Return a copy of a model that says something else of itself."""
    shutil.copytree(run / "model", folder)
    save_card(folder, read_model_card(folder).model_copy(update=changes))
    return folder


def test_runs_that_cannot_be_compared(run: Path, real: Judged, data: Path, tmp_path: Path) -> None:
    moved = changed(run, tmp_path / "moved", data={"name": "large", "fingerprint": "0123"})
    with pytest.raises(ModelError, match=r"was trained on large \(0123\)"):
        open_other(real, moved, device="cpu")
    # on data that are named, both can be looked at
    assert len(open_other(real, moved, data=data, device="cpu")) == 7

    thresholds = {"fixed": Thresholds.fixed(["happy", "sad", "bored"])}
    names = {"label_names": ("happy", "sad", "bored"), "thresholds": thresholds}
    bored = changed(run, tmp_path / "bored", **names)
    with pytest.raises(ModelError, match="has the labels happy, sad, bored"):
        open_other(real, bored, data=data, device="cpu")
    with pytest.raises(DataError, match="has the labels happy, sad, angry"):
        open_judged(bored, data=data, device="cpu")
    run_cli("page", run, tmp_path / "nothing", "--port", "0").failed(5, "no trained model")
    run_cli("page", run, "--split", "nothing", "--port", "0").failed(4, "nothing")


def test_labels_in_another_order_are_matched_by_name(one: Judged) -> None:
    turned = one.ordered_as(("angry", "happy", "sad"))
    assert turned.true[:, 1].tolist() == one.true[:, 0].tolist()
    assert turned.probabilities[5].tolist() == [0.3, 0.02, 0.6]
    assert (turned.ordered_as(one.label_names).named == one.named).all()


# ---------------------------------------------------------------------- in a browser


def test_in_a_browser(one: Judged, other: Judged) -> None:
    """Keys, a form, no error, no request to elsewhere, nothing that axe calls serious."""
    import uvicorn

    config = uvicorn.Config(
        new_browser(one, other, Access()).guarded, port=0, log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    with browser() as started:
        thread.start()
        while not server.started:
            thread.join(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            shown = opened(started, f"http://127.0.0.1:{port}/")
            page = shown.page
            page.get_by_label("which samples").select_option("b")
            page.get_by_role("button", name="Show").click()
            page.get_by_text("4 samples of 7").wait_for()
            assert serious_faults(page) == []

            page.get_by_role("link", name="test1[0]").click()
            page.get_by_text("1 of 4").wait_for()
            shown.pressed("ArrowRight")
            page.get_by_text("2 of 4").wait_for()
            page.get_by_role("link", name="evidence for angry").click()
            page.get_by_role("heading", name="Evidence for angry").wait_for()
            assert serious_faults(page) == []
            shown.pressed("ArrowLeft")
            page.get_by_text("1 of 4").wait_for()
            assert shown.faults == []
            assert shown.elsewhere == []
        finally:
            server.should_exit = True
            thread.join()
