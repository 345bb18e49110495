"""Settings: what is wrong is named by key and value, and nothing heavy is imported to say so."""

import inspect
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

import emotailor
from emotailor.config import Config, merge, parse_overrides, read_toml
from emotailor.errors import ConfigError
from emotailor.files import write_json
from emotailor.models.table import available_models, find_system
from emotailor.models.tailor.config import TailorConfig
from emotailor.training.config import TrainingConfig
from emotailor.training.recipe import recipe
from emotailor.training.run_config import DataConfig, RunConfig
from emotailor.verified import with_hash


class Inner(Config):
    width: int = Field(3, ge=1)
    rate: float = 0.5


class Outer(Config):
    name: str
    inner: Inner = Inner()


def failure(values: Any, cls: type[Config] = Outer, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        cls.parse(values, **options)
    return caught.value


def test_every_wrong_key_is_named_at_once() -> None:
    error = failure({"name": 7, "inner": {"width": 0, "rat": 1}})
    assert "name = 7" in error.found
    assert "inner.width = 0" in error.found
    assert "inner.rat = 1 is not a setting" in error.found
    assert error.expected is not None
    assert "inner.width: a whole number, at least 1" in error.expected
    assert "did you mean inner.rate?" in error.expected
    assert error.exit_code == 3


def test_an_unknown_key_without_a_likeness_lists_the_known() -> None:
    assert failure({"name": "a", "inner": {"xyz": 1}}).expected == "one of rate, width"
    two = failure({"name": "a", "inner": {"xyz": 1, "uvw": 2}})
    assert two.expected == "one of rate, width"  # once


def test_a_missing_key_is_said_to_be_missing() -> None:
    assert failure({}).found == "the configuration: name is not given"


@pytest.mark.parametrize("values", [5, "text", [1], None])
def test_what_is_no_table_is_refused(values: Any) -> None:
    error = failure(values, prefix="model.", source="a.toml")
    assert error.found == f"a.toml: model = {values!r}"
    assert error.expected == "a table of settings"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite(value: float) -> None:
    assert "inner.rate = " in failure({"name": "a", "inner": {"rate": value}}).found


def test_settings_cannot_be_changed_but_replaced() -> None:
    config = Outer(name="a")
    with pytest.raises(ValueError, match="frozen"):
        config.name = "b"  # type: ignore[misc]
    assert config.replace(name="b").name == "b"
    with pytest.raises(ConfigError, match="nam = 'b' is not a setting"):
        config.replace(nam="b")


class Nullable(Config):
    patience: int | None = 3
    size: Annotated[int, Field(ge=1)] | None = 4
    name: str | None = "a"
    order: tuple[str, ...] | None = ("a",)
    mode: Literal["none", "all"] | None = "all"
    kind: Literal["none", "all"] = "all"
    text: str = "a"


@pytest.mark.parametrize("word", ["none", "null", "None", " none "])
def test_a_word_stands_for_none_where_a_setting_may_be_none(word: str) -> None:
    names = ("patience", "size", "name", "order")
    assert Nullable.parse(dict.fromkeys(names, word)) == Nullable(
        patience=None, size=None, name=None, order=None
    )
    assert Nullable(text=word).text == word  # this one may not
    error = failure({"width": word}, Inner)
    assert error.found == f"the configuration: width = {word!r}"


def test_where_the_word_is_one_of_the_values_it_stays() -> None:
    found = Nullable.parse({"mode": "none", "kind": "none"})
    assert (found.mode, found.kind) == ("none", "none")
    assert Nullable.parse({"mode": "null"}).mode is None
    assert Nullable.parse({"mode": None}).mode is None


def test_settings_of_a_run_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[training]\npatience = "none"\n[alignment]\nkind = "none"\n')
    aside = parse_overrides(["data.modalities=null", "model.refinement=none"])
    base = {"training": {"patience": 3}, "data": {"path": "x", "modalities": ["text"]}}
    config = RunConfig.build(base, read_toml(file), aside)
    assert config.training.patience is None
    assert config.data.modalities is None
    assert config.alignment.kind == "none"
    assert isinstance(config.model, TailorConfig)
    assert config.model.refinement == "none"


# ---------------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], {}),
        (["model.hidden_size=128"], {"model": {"hidden_size": 128}}),
        (["a.b=1", "a.c=x", "a.b=2"], {"a": {"b": 2, "c": "x"}}),
        (["a = true "], {"a": True}),
        (["a=1e-5"], {"a": 1e-5}),
        (['a="1"'], {"a": "1"}),
        (["a=cuda:1"], {"a": "cuda:1"}),
        (["a="], {"a": ""}),
        (["a=b=c"], {"a": "b=c"}),
        (['a=["x", "y"]'], {"a": ["x", "y"]}),
    ],
)
def test_overrides(items: list[str], expected: dict[str, Any]) -> None:
    assert parse_overrides(items) == expected


@pytest.mark.parametrize("item", ["a", "=1", ".a=1", "a..b=1", ""])
def test_overrides_that_are_none(item: str) -> None:
    with pytest.raises(ConfigError, match=r"KEY=VALUE, such as --set model.hidden_size=128"):
        parse_overrides([item])


def test_a_value_inside_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="a is already set to a value"):
        parse_overrides(["a=1", "a.b=2"])


def test_later_layers_win_and_tables_are_merged() -> None:
    layers = ({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}}, {"b": {"z": 5}})
    assert merge(*layers) == {"a": {"x": 1, "y": 4}, "b": {"z": 5}}
    assert layers[0] == {"a": {"x": 1, "y": 2}, "b": 3}


# ---------------------------------------------------------------------- files


def test_toml_and_json_files(tmp_path: Path) -> None:
    (tmp_path / "ü x.toml").write_text('[model]\nhidden_size = 8\nname = "ü"\n', encoding="utf-8")
    (tmp_path / "x.json").write_text('{"model": {"hidden_size": 8, "name": "ü"}}', encoding="utf-8")
    expected = {"model": {"hidden_size": 8, "name": "ü"}}
    assert read_toml(tmp_path / "ü x.toml") == read_toml(tmp_path / "x.json") == expected


def test_a_mark_before_the_text_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    (tmp_path / "x.JSON").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_toml(tmp_path / "x.toml") == read_toml(tmp_path / "x.JSON") == {"a": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b"[" * 10**5, "x.json is not valid"),
        ("x.toml", b"[model\nhidden_size = 8", "x.toml is not valid"),
        ("x.toml", b"hidden_size: 8", "x.toml is not valid"),
        ("x.toml", b"\xff\xfe\x00", "x.toml is not valid"),
        ("x.json", b'{"a": ', "x.json is not valid"),
        ("x.json", b"", "x.json is not valid"),
        ("x.json", b"[1, 2]", "holds a list"),
        ("none.toml", None, r"No such file[\s\S]*--config"),
        ("", None, "Is a directory"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_toml(tmp_path / name)


# ---------------------------------------------------------------------- runs

DATA = {"data": {"path": "somewhere"}}


def run_failure(*layers: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        RunConfig.build(DATA, *layers, **options)
    return str(caught.value)


def test_the_presets_are_the_paper_and_the_program() -> None:
    paper, authors = RunConfig.build(DATA), RunConfig.build(DATA, preset="authors")
    assert paper.model == TailorConfig.paper()
    assert authors.model == TailorConfig.authors()
    assert (paper.training.learning_rate, authors.training.learning_rate) == (1e-5, 5e-5)
    assert (paper.data.standardize, authors.data.standardize) == (True, False)
    assert RunConfig.build(DATA, {"data": {"standardize": True}}, preset="authors").data.standardize


def test_a_run_survives_its_own_json() -> None:
    config = RunConfig.build(DATA, {"model": {"hidden_size": 40}, "training": {"patience": 3}})
    again = RunConfig.parse(config.to_json())
    assert again == config
    assert again.model == config.model
    assert isinstance(again.model, TailorConfig)


@pytest.mark.parametrize(
    ("layer", "parts"),
    [
        ({"model": {"hiden_size": 1}}, ["model.hiden_size = 1", "did you mean model.hidden_size?"]),
        ({"training": {"epoch": 1}}, ["training.epoch = 1", "did you mean training.epochs?"]),
        ({"trainng": {}}, ["trainng = {} is not a setting", "did you mean training?"]),
        ({"model": {"hidden_size": 9}}, ["model: hidden_size 9 must be a multiple of heads 8"]),
        ({"model": {"heads": "a", "dropout": 7}}, ["model.heads = 'a'; model.dropout = 7"]),
        ({"model": 5}, ["the configuration: model = 5"]),
        ({"training": 5}, ["training = 5"]),
        ({"data": {"path": ""}}, ["data.path = ''"]),
        ({"data": {"modalities": ["text", "text"]}}, ["visual, audio, text, each once"]),
        ({"data": {"modalities": []}}, ["visual, audio, text, each once"]),
        ({"data": {"modalities": ["smell"]}}, ["data.modalities.0 = 'smell'"]),
        ({"training": {"seed": -1}}, ["training.seed = -1"]),
        ({"training": {"seed": 2**32}}, ["training.seed = 4294967296"]),
        ({"training": {"device": "meta"}}, ["training.device: 'meta' is no device", "cuda:1"]),
    ],
)
def test_wrong_settings_of_a_run(layer: dict[str, Any], parts: list[str]) -> None:
    message = run_failure(layer)
    for part in parts:
        assert part in message
    assert len(message) < 400  # a mistake in one key does not print all the others


@pytest.mark.parametrize(
    ("room", "wrong", "wanted"),
    [
        ("model", TrainingConfig(), "BinaryRelevanceConfig"),
        ("model", TailorConfig(), "BinaryRelevanceConfig"),
        ("training", TailorConfig(), "TrainingConfig"),
        ("alignment", TrainingConfig(), "AlignmentConfig"),
        ("data", TrainingConfig(), "DataConfig"),
    ],
)
def test_settings_of_another_class_are_refused_wherever_they_stand(
    room: str, wrong: Config, wanted: str
) -> None:
    # a table that comes later must not hide them
    for layers in ([{room: wrong}], [{room: wrong}, {room: {}}], [{room: {}}, {room: wrong}]):
        message = run_failure(*layers, system="br")
        assert f"{room}: settings of the class {type(wrong).__name__}" in message
        assert wanted in message
        assert len(message) < 300

    config = RunConfig.build(DATA, system="br")
    with pytest.raises(ConfigError):
        config.replace(**{room: wrong})
    with pytest.raises(ConfigError):
        config.model_copy(update={room: wrong})


def test_objects_are_layers_like_tables() -> None:
    settings = TrainingConfig(epochs=7, batch_size=9)
    model = TailorConfig(hidden_size=40)
    config = RunConfig.build(
        {"model": model, "training": settings, "data": DataConfig(path="somewhere")},
        {"model": {"dropout": 0.25}, "training": {"epochs": 3}},
    )
    assert config.model == model.replace(dropout=0.25)
    assert config.training == settings.replace(epochs=3)
    assert config.model_copy(update={"training": settings}).training == settings
    assert config.model_copy() == config


def test_two_systems_are_no_system() -> None:
    named = {"system": "lp"}
    assert RunConfig.build(DATA, named).system == "lp"
    assert RunConfig.build(DATA, named, system="lp").system == "lp"
    message = run_failure(named, system="br")
    for part in ("'lp'", "'br'"):
        assert part in message
    with pytest.raises(ConfigError, match="'lp'"):
        emotailor.train({**DATA, **named}, "nowhere", model="br")


def test_a_training_takes_no_settings_of_a_model_alone() -> None:
    train = inspect.unwrap(emotailor.train)  # tests check types, which a user's program does not
    with pytest.raises(ConfigError, match="TailorConfig"):
        train(TailorConfig(), "nowhere")


def test_a_file_with_a_table_per_system_is_for_other_commands() -> None:
    tiny = Path(__file__).resolve().parents[1] / "examples" / "tiny.toml"
    tables = read_toml(tiny)
    message = run_failure(tables)
    assert set(tables) > {"all", "tailor"}
    assert ", ".join(tables) in message
    for part in ("alignment, data, model, system, training", "emotailor benchmark", "[model]"):
        assert part in message
    one = run_failure({"tailor": {"model": {"heads": 2}}})
    assert one.startswith("the configuration: tailor is no table of a run\n")
    # other tables are taken for a wrong name
    assert "did you mean model.heads?" in run_failure({"modle": {"heads": 2}})


def test_unknown_systems_and_the_table_of_known_ones() -> None:
    assert "unknown model 'tailer'" in run_failure(system="tailer")
    assert RunConfig.build(DATA, system="TAILOR").system == "tailor"
    assert RunConfig.build(DATA, system="ML-GCN").system == "ml_gcn"
    assert RunConfig.parse({**DATA, "system": "MulT"}).system == "mult"
    assert "tailor" in available_models()
    for name in available_models():
        system = find_system(name)
        assert system.name == name
        for face in ("paper", "authors"):
            config = getattr(system.config, face)()
            assert system.config.parse(config.to_json()) == config


def test_the_training_recipes_are_valid() -> None:
    for name in available_models():
        for face in ("paper", "authors"):
            found = recipe(name, face)
            assert TrainingConfig.parse(found.to_json()) == found
    assert recipe("tailor") == TrainingConfig()
    assert recipe("tailor", "authors").optimizer == "bert_adam"


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ("training.epochs=" + "[" * 10**5, "training.epochs"),
        ("training.epochs=" + "9" * 5000, "training.epochs"),
        ("training.epochs=" + "[" * 200 + "]" * 200, "nested deeper"),
        (".".join("a" * 500) + "=1", "nested deeper"),
    ],
)
def test_settings_without_end_are_one_short_error(item: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        RunConfig.build({"data": {"path": "x"}}, parse_overrides([item]))
    assert len(str(caught.value)) < 1000


def test_files_without_end_or_changed_by_hand(tmp_path: Path) -> None:
    for name, content in (
        ("a.json", '{"a": ' + "[" * 10**5 + "]" * 10**5 + "}"),
        ("b.json", '{"a": ' + "[" * 100 + "]" * 100 + "}"),
        ("c.toml", "a = " + "[" * 10**5 + "]" * 10**5),
        ("d.toml", "a = " + "[" * 100 + "]" * 100),
        ("e.json", json.dumps({**with_hash({"a": 1}), "a": 2})),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=name):
            read_toml(tmp_path / name)

    write_json(tmp_path / "ours.json", {"a": 1})
    assert read_toml(tmp_path / "ours.json") == {"a": 1}
