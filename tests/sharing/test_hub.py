"""Models by the names that they have on the Hugging Face Hub, which a server here imitates."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")

import huggingface_hub.constants as hub_constants

import emotailor
from emotailor.errors import ConfigError, EmotailorError, ModelError
from emotailor.sharing.publish import publish
from emotailor.shipped import hub as hub_module
from emotailor.shipped.find import meant_by
from emotailor.shipped.hub import hub_folder, hub_name, is_on_hub
from tests.runs.runs import run_cli
from tests.sharing.hub import COMMIT, FakeHub, Repository, lay_out_cache, serving

CARD = b'{"format": "emotailor-model", "weights": {"file": "../../x.safetensors"}}'


@pytest.fixture(scope="module")
def published(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    publish(shared_run, home / "tiny", licence="mit", repository="someone/tiny")
    (home / "tiny" / "pytorch_model.bin").write_bytes(b"\x80\x04never read")
    return home / "tiny"


@pytest.fixture(name="data")
def fixture_data(shared_set: Path) -> Path:
    return shared_set


@pytest.fixture(scope="module")
def files(published: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in published.iterdir()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no Hub to be reached."""
    _use(monkeypatch, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub_module._folder.cache_clear()
    yield tmp_path / "cache"
    hub_module._folder.cache_clear()


@pytest.fixture
def hub(cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    damaged = {**files, "model.safetensors": files["model.safetensors"][:-1] + b"\x00"}
    repositories = {
        "someone/tiny": Repository(files),
        "someone/gated": Repository(files, gated=True),
        "someone/other": Repository({"README.md": b"# other", "pytorch_model.bin": b"x"}),
        "someone/hostile": Repository({"model.json": CARD, "x.safetensors": b"x"}),
        "someone/foreign": Repository({"model.json": b'{"a": 1}'}),
        "someone/damaged": Repository(damaged),
        "someone/half": Repository({"model.json": files["model.json"]}),
    }
    with serving(repositories) as server:
        _use(monkeypatch, server.address)
        yield server


def _use(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub_constants, "ENDPOINT", address)
    monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def in_folder(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


# ---------------------------------------------------------------------- names


def test_a_name_is_told_from_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hf://a/b", "hf://a/b@v1", Path("hf://a/b"), "hf:"):
        assert is_on_hub(name), name
    for path in ("a/b", "hf", "hf-run", "runs/hf:", "/hf://a/b", Path("runs/first")):
        assert not is_on_hub(path), path
    assert hub_name(Path("hf://a/b@v1")) == "hf://a/b@v1"

    # what lies at the path wins
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hf:" / "a" / "b").mkdir(parents=True)
    assert meant_by("hf://a/b") == Path("hf://a/b")


@pytest.mark.parametrize(
    "name",
    ["hf:", "hf://", "hf://a", "hf://a/b/c", "hf://a/..", "hf://../b", "hf://a/b--c", "hf:///a/b",
     "hf://a/b c", "hf://a/b.git", "hf://a/b@", "hf://a/b@../x", "hf://a/b@-x", "hf://a/b\n",
     "hf://" + "a" * 50 + "/" + "b" * 50],
)  # fmt: skip
def test_what_can_be_no_name_is_refused_before_anybody_is_asked(name: str, hub: FakeHub) -> None:
    with pytest.raises(ConfigError, match=r"names no model|is no revision"):
        meant_by(name)
    assert hub.asked == []


# ---------------------------------------------------------------------- from the Hub


def test_a_model_is_fetched_and_says_the_same(hub: FakeHub, published: Path, data: Path) -> None:
    test = emotailor.load_dataset(data)["test"]
    expected = emotailor.Predictor.load(published, device="cpu").predict_proba(test)
    model = emotailor.Predictor.load("hf://someone/tiny", device="cpu")
    assert (model.predict_proba(test) == expected).all()
    # the card, and what it names: no pickle, and nothing twice
    assert hub.fetched == ["model.json", "model.safetensors"]


def test_one_process_asks_once(hub: FakeHub) -> None:
    first = hub_folder("hf://someone/tiny")
    count = len(hub.asked)
    assert hub_folder(Path("hf://someone/tiny")) == first
    assert len(hub.asked) == count
    # another revision is another question, but its files are there
    assert hub_folder(f"hf://someone/tiny@{COMMIT}") == first
    assert hub_folder("hf://someone/tiny@v1.0") == first
    assert hub.fetched == ["model.json", "model.safetensors"]


def test_commands_take_the_name_and_write_nothing_beside_the_model(
    hub: FakeHub, cache: Path, published: Path, data: Path, tmp_path: Path
) -> None:
    name = "hf://someone/tiny"
    rows = []
    for model in (published, name):
        done = run_cli("predict", model, data, "--json", "--limit", "2", "--device", "cpu")
        assert done.code == 0, done.err
        rows.append([json.loads(line)["probabilities"] for line in done.out.splitlines()])
    assert rows[0] == rows[1]

    before = in_folder(cache)
    done = run_cli("evaluate", name, "--data", data, "--resamples", "0", "--device", "cpu")
    assert done.code == 0, done.err
    assert "micro-F1" in done.out
    assert in_folder(cache) == before
    assert emotailor.Run.open(name).system == "tailor"

    more = ["--epochs", "1", "--batch-size", "8", "--set", "training.device=cpu"]
    done = run_cli("train", "--data", data, "--start-from", name, "--out", tmp_path / "more", *more)
    assert done.code == 0, done.err
    settings = emotailor.Run.open(tmp_path / "more").config
    assert settings is not None
    assert settings.training.start_from == name
    again = publish(name, tmp_path / "again", licence="mit")
    assert (again.folder / "model.json").read_bytes() == (published / "model.json").read_bytes()

    # what would write into it says how to get a folder of one's own
    run_cli("calibrate", name, "--data", data).failed(5, "hf download someone/tiny --local-dir DIR")
    done = run_cli("predict", name, data, "--runtime", "onnx")
    done.failed(3, "hf://someone/tiny is no folder", "export hf://someone/tiny --onnx FILE")
    for command in ("report", "figures"):
        run_cli(command, name, "--data", data).failed(3, "hf://someone/tiny is no folder", "--out")
    assert in_folder(cache) == before


def test_a_report_of_a_model_of_the_hub(
    hub: FakeHub, cache: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotailor.figures import make
    from emotailor.report.write import write_report

    # how figures look takes seconds, and is tested elsewhere
    monkeypatch.setattr(make, "FIGURES", {})
    monkeypatch.setattr(make, "check_claims", lambda *_, **__: [])
    hub_folder("hf://someone/tiny")
    before = in_folder(cache)
    page = tmp_path / "page.html"
    write_report("hf://someone/tiny", out=page, data=data, device="cpu")
    text = page.read_text(encoding="utf-8")
    assert "from hf://someone/tiny" in text
    assert "emotailor report hf://someone/tiny" in text
    assert str(cache) not in text
    assert in_folder(cache) == before


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hf://nobody/nothing", ["there is no hf://nobody/nothing", "hf auth login"]),
        ("hf://someone/tiny@v9", ["hf://someone/tiny@v9", "no such revision"]),
        ("hf://someone/gated", ["is gated", "hf auth login"]),
        ("hf://someone/other", ["is no model of emotailor", "has no model.json"]),
        ("hf://someone/foreign", ["is no model of emotailor"]),
        ("hf://someone/hostile", ["is no model of emotailor", "no weights that could be read"]),
        ("hf://someone/half", ["is no model of emotailor", "model.safetensors"]),
    ],
)
def test_what_cannot_be_had_is_one_message(hub: FakeHub, name: str, parts: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        emotailor.Predictor.load(name)
    for part in parts:
        assert part in str(caught.value)
    assert "model.safetensors" not in hub.fetched


def test_the_hash_in_the_card_is_checked(hub: FakeHub) -> None:
    with pytest.raises(ModelError, match="SHA-256 differs"):
        emotailor.Predictor.load("hf://someone/damaged")


# ---------------------------------------------------------------------- without the Hub


def test_without_a_network_the_message_says_so(cache: Path) -> None:
    run_cli("predict", "hf://someone/tiny", "x").failed(5, "cannot be reached", "connect")


@pytest.mark.parametrize("is_offline", [True, False])
def test_what_is_in_the_cache_needs_no_network(
    cache: Path,
    published: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_offline: bool,
) -> None:
    """In the layout of version 1.0 of the library, told to stay offline or finding no Hub."""
    snapshot = lay_out_cache(cache, "someone/tiny", published)
    if is_offline:
        monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(socket.socket, "connect", _refuse)
    assert meant_by("hf://someone/tiny") == snapshot
    assert meant_by(f"hf://someone/tiny@{COMMIT}") == snapshot
    assert run_cli("predict", "hf://someone/tiny", data, "--limit", "1").code == 0
    with pytest.raises(ModelError, match="is not whole in the cache"):
        meant_by("hf://someone/tiny@v1.0")


def test_a_model_that_was_fetched_stays(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hub_folder("hf://someone/tiny")
    hub_module._folder.cache_clear()
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    count = len(hub.asked)
    assert hub_folder("hf://someone/tiny") == first
    assert len(hub.asked) == count


def test_without_the_library_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub_module._folder.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install 'emotailor\[hub\]'"):
        meant_by("hf://someone/tiny")


def test_nobody_asks_where_no_name_is_given(
    published: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.setattr(socket, "getaddrinfo", _refuse)
    monkeypatch.setattr(hub_module, "need", _refuse)
    assert run_cli("predict", published, data, "--limit", "1").code == 0
    for model in (published, "words"):
        publish(model, tmp_path / "out", licence="mit", overwrite=True)
    with pytest.raises(EmotailorError, match="no trained model at hf"):
        emotailor.Predictor.load("hf")


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a connection was opened")
