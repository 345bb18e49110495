"""The table of systems and the card of one: what is shown is what is configured."""

import dataclasses
from pathlib import Path

import pytest
from pydantic import Field

from emotailor.commands import models
from emotailor.commands.models import MOSEI_DIMS, describe, field_comments, venue
from emotailor.commands.new_system import write_system
from emotailor.config import Config, shown
from emotailor.errors import ConfigError
from emotailor.models.factory import build_model
from emotailor.models.system import System
from emotailor.models.table import SYSTEMS
from emotailor.models.tailor.config import TailorConfig
from emotailor.training.recipe import recipe
from tests.helpers import DIMS
from tests.runs.runs import run_cli


class Parent(Config):
    """# a comment in a docstring is none."""

    width: int = Field(3, ge=1)  # d, Eq. 1; the paper's
    text: str = "# no comment"
    both: str = "#"  # has # inside
    several: float = Field(  # of many
        0.5,
        gt=0,
    )  # lines
    constant: str = "x"  # overridden below
    # a line of its own belongs to nothing

    def method(self) -> int:
        """Return a number."""
        local: int = 3  # no field
        return local


class Child(Parent):
    """Inherits."""

    own: tuple[int, ...] = (
        1,
        2,
    )  # ψ, of the child
    constant: str = "y"  # of the child
    # two lines
    # directly above
    above: int = 1  # and one beside

    # far above

    odd: tuple[int, ...] = (
        1,
    )  # fmt: skip


def test_comments_beside_fields() -> None:
    assert field_comments(Child) == {
        "width": "d, Eq. 1; the paper's",
        "text": "",
        "both": "has # inside",
        "several": "of many lines",
        "constant": "of the child",
        "own": "ψ, of the child",
        "above": "two lines directly above and one beside",
        "odd": "",
    }
    assert field_comments(Config) == {}


def test_classes_without_source() -> None:
    class Nested(Config):
        inner: int = 1  # of a class inside a function

    assert field_comments(Nested) == {"inner": "of a class inside a function"}
    space: dict[str, type[Config]] = {"Config": Config, "__name__": "nowhere"}  # type: ignore[dict-item]
    exec("class Made(Config):\n    size: int = 1  # lost", space)
    assert field_comments(space["Made"]) == {"size": ""}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"), (None, "none"), (5e-6, "5e-06"), (0.3, "0.3"), (256, "256"), (0.0, "0"),
        (("visual", "text"), "visual, text"), ({"a": 0.5, "b": 1}, "a 0.5, b 1"), ("mlp", "mlp"),
    ],
)  # fmt: skip
def test_values_as_they_are_written(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_venues() -> None:
    assert venue(SYSTEMS["mult"]) == "ACL 2019"
    assert venue(SYSTEMS["br"]) == "Pattern Recognition 2004"
    assert venue(SYSTEMS["tailor"]) == "AAAI 2022"


def test_the_card_of_tailor(data: Path) -> None:
    card = describe("tailor")
    assert card.dims == MOSEI_DIMS
    model = build_model("tailor", TailorConfig(), MOSEI_DIMS, 6)
    assert card.parameters["paper"] == sum(p.numel() for p in model.parameters()) == 10_371_343
    assert card.losses["paper"] == dict(model.loss_weights)
    assert card.training == {p: recipe("tailor", p) for p in ("tuned", "paper", "authors")}
    settings = {s.name: s for s in card.settings}
    assert list(settings) == list(TailorConfig.model_fields)
    assert settings["discriminator"].authors == "mlp"
    assert settings["adversarial_weight"].comment.startswith("alpha, Eq. 17")
    small = describe("tailor", data)
    assert (small.dims, small.labels, small.data) == (DIMS, 3, "small")
    assert small.parameters["paper"] < card.parameters["paper"]


def test_the_list() -> None:
    done = run_cli("models")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    for name, row in SYSTEMS.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert row.title in line
        assert venue(row) in line
        assert line.rstrip().endswith("fitted" if name in ("br", "lp", "cc") else "neural")


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_card(name: str) -> None:
    done = run_cli("models", "show", name)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    assert "…" not in done.out
    flat = " ".join(done.out.split())
    row = SYSTEMS[name]
    assert row.paper in flat
    for loss, weight in describe(name).losses["paper"].items():
        assert f"{loss} {shown(weight)}" in flat
    for field, comment in field_comments(row.config).items():
        assert f" {field} " in done.out
        assert comment, f"{name}: {field} has no comment that says where it comes from"


@pytest.mark.parametrize("name", SYSTEMS)
def test_published_numbers_are_those_of_the_row(name: str) -> None:
    flat = " ".join(run_cli("models", "show", name).out.split())
    published = SYSTEMS[name].published
    assert ("published" in flat) == bool(published)
    for setting, values in published.items():
        for title, value in zip(("Acc", "P", "R", "micro-F1"), values, strict=True):
            assert f"{title} {value:.3f}" in flat[flat.index(f"{setting}: ") :]


def test_a_system_of_ones_own(tmp_path: Path) -> None:
    written = write_system("my_thing", tmp_path)
    done = run_cli("models", "show", written.reference)
    assert (done.code, done.err) == (0, "")
    for text in ("MyThing (neural)", "variants additive", "hidden_size 64", "learning_rate 0.001"):
        assert text in " ".join(done.out.split())
    for absent in ("published", "authors:"):  # it has neither a paper nor presets
        assert absent not in done.out
    assert f"{written.module}:MyThing" in done.out.replace("\n", "").replace(" ", "")


def test_a_new_system_is_completed_after_a_kill_and_never_written_over(tmp_path: Path) -> None:
    written = write_system("my_thing", tmp_path)
    with pytest.raises(ConfigError):
        write_system("my_thing", tmp_path)

    written.test.unlink()  # as a kill between the two files leaves it
    write_system("my_thing", tmp_path)
    assert written.test.exists()

    written.test.unlink()
    written.module.write_text("# worked on")
    with pytest.raises(ConfigError):
        write_system("my_thing", tmp_path)
    assert written.module.read_text() == "# worked on"
    assert not written.test.exists()


def test_the_list_has_installed_systems_and_survives_damaged_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = dataclasses.replace(SYSTEMS["mult"], name="theirs", title="Theirs [x]", paper="")

    def find(name: str) -> System:
        if name == "broken":
            raise ConfigError("the system 'broken' cannot be loaded")
        return theirs if name == "theirs" else SYSTEMS[name]

    monkeypatch.setattr(models, "available_models", lambda: ("br", "broken", "theirs"))
    monkeypatch.setattr(models, "find_system", find)
    monkeypatch.setattr(models, "kind_of", lambda row: "neural")
    done = run_cli("models", width=120)
    assert done.code == 0
    _, _, *rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert rows[0][0] == "br"
    assert "cannot be loaded" in " ".join(rows[1])
    assert rows[2][:3] == ["theirs", "Theirs", "[x]"]


def test_wrong_names_and_data(tmp_path: Path, data: Path) -> None:
    run_cli("models", "show", "oracle").failed(3, "unknown model 'oracle'", "tailor")
    run_cli("models", "show", "tailor", "--data", tmp_path / "x").failed(4, "no data set at")
    assert run_cli("models", "show").code == 2
    assert run_cli("models", "shwo").code == 2
    assert run_cli("models", "list").out == run_cli("models").out
    done = run_cli("models", "show", "tailor", "--data", data)
    assert done.code == 0
    assert "for small: visual 5, audio 7, text 11; 3 labels" in done.out
