"""Systems from outside the package beside ours: benchmarks, and variants of their own."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import emotailor
from emotailor.comparison.ablate import ablate, chosen_variants, plan_ablation
from emotailor.comparison.benchmark import plan_benchmark
from emotailor.comparison.results import read_benchmark
from emotailor.comparison.runner import next_command, run_plan, training_command
from emotailor.errors import ConfigError
from emotailor.models import table
from emotailor.models.system import FULL, Variant
from emotailor.models.table import find_system, use_system
from emotailor.report.benchmark import benchmark_command
from emotailor.report.write import write_report
from tests.own.my_model import MeanPool, MeanPoolConfig
from tests.runs.runs import MODEL, TRAINING, one_thread

OWN = Path(__file__).parents[1] / "own" / "my_model.py"
CODE = f"{OWN}:MeanPool"
NAME = "my_model.py:MeanPool"
SHORT = {**{k: v for k, v in TRAINING.items() if k != "seed"}, "epochs": 1}


@pytest.fixture(autouse=True)
def nothing_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts without systems from outside."""
    monkeypatch.setattr(table, "_USED", {})


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models for TAILOR and for the system of somebody else, which has its class as a name."""
    file = tmp_path_factory.mktemp("settings") / "tiny.json"
    own = {"model": {"hidden_size": 5}}
    file.write_text(
        json.dumps({"all": {"training": SHORT}, "tailor": {"model": MODEL}, "MeanPool": own})
    )
    return file


def options(settings: Path) -> dict[str, Any]:
    return {"config_file": settings, "seeds": 2, "seed": 5, "jobs": 1, "device": "cpu"}


def test_a_system_of_a_file_is_planned_beside_tailor(
    data: Path, settings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    plan = plan_benchmark(
        data, out, models=[CODE, "tailor"], settings=[f"{NAME}:model.small_weight=0.5"],
        **options(settings),
    )  # fmt: skip
    assert list(plan.runs) == [("tailor", 5), (NAME, 5), ("tailor", 6), (NAME, 6)]
    run = plan.runs[NAME, 6]
    assert run.folder == out / "MeanPool" / "seed6"
    assert run.config.model.to_json() == {
        "hidden_size": 5, "small_weight": 0.5, "nonlinear": True
    }  # fmt: skip
    assert run.config.training.learning_rate == SHORT["learning_rate"]
    assert training_command(run)[-1] == f"--model={OWN.resolve()}:MeanPool"
    assert not any(x.startswith("--model") for x in training_command(plan.runs["tailor", 5]))


def test_settings_of_own_systems_are_checked(data: Path, tmp_path: Path) -> None:
    for given, message in (
        ("MeanPool:model.hidden_size=0", "my_model.py:MeanPool: .*hidden_size = 0"),
        ("meanpool:model.hidden_size=1", r"did you mean MeanPool\?"),
        (f"{NAME}:system=tailor", f"system of {NAME}"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan_benchmark(data, tmp_path, models=[CODE], settings=[given])


def test_what_another_process_cannot_find_is_refused(data: Path, tmp_path: Path) -> None:
    class Local(MeanPool):
        """Nobody outside this function knows it."""

    with pytest.raises(ConfigError, match=r"no other process can find .*Local"):
        plan_benchmark(data, tmp_path / "o", models=[Local])
    assert not (tmp_path / "o").exists()


def test_two_systems_do_not_share_a_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.py").write_bytes(OWN.read_bytes())
    with pytest.raises(ConfigError, match="would share the folder MeanPool"):
        plan_benchmark(data, tmp_path / "o", models=[CODE, f"{tmp_path / 'copy.py'}:MeanPool"])


def test_a_benchmark_with_a_system_of_a_file(data: Path, settings: Path, tmp_path: Path) -> None:
    """Each run in a process of its own, tested here, and compared with TAILOR."""
    out = tmp_path / "o"
    with one_thread():
        plan = plan_benchmark(data, out, models=["tailor", CODE], **options(settings))
        result = run_plan(plan, Console(quiet=True), resamples=50)
    assert result.failed == {}

    _, own = result.results.rows
    assert (own.name, own.title, own.done) == (NAME, "Mean pooling", 2)
    means = {
        name: sum(
            json.loads((out / name / f"seed{seed}" / "evaluation-test.json").read_text())[
                "metrics"
            ]["tuned"]["micro_f1"]
            for seed in (5, 6)
        )
        / 2
        for name in ("tailor", "MeanPool")
    }
    assert own.spreads["micro_f1"].mean == pytest.approx(means["MeanPool"])
    difference = own.differences["micro_f1"]
    assert difference.value == pytest.approx(means["MeanPool"] - means["tailor"])
    assert re.search(
        r"^\| Mean pooling( †)? \| 2/2 \|", (out / "table.md").read_text(), re.MULTILINE
    )
    with (out / "table.csv").open() as file:
        names = [row["system"] for row in csv.DictReader(file)]
    assert names[:2] == ["tailor", NAME]
    assert names[2:] == ["all labels", "label frequencies", "logistic regression"]

    found = read_benchmark(out / "benchmark.json")
    assert found.systems[NAME].code == f"{OWN.resolve()}:MeanPool"
    assert found.tested() == {(name, seed) for name in ("tailor", NAME) for seed in (5, 6)}
    command = benchmark_command(found, "o")
    assert command is not None
    assert f"--models tailor,{OWN.resolve()}:MeanPool" in " ".join(command.split())

    # the same command finds everything done, also where its file is lost
    again = plan_benchmark(data, out, models=["tailor", CODE], **options(settings))
    assert set(again.states.values()) == {"done"}
    (out / "benchmark.json").unlink()
    alone = tmp_path / "tailor.json"
    alone.write_text(json.dumps({"all": {"training": SHORT}, "tailor": {"model": MODEL}}))
    with pytest.raises(ConfigError, match="has MeanPool too"):
        plan_benchmark(data, out, models=["tailor"], **options(alone))

    # a process that has not loaded the class shows the report without its command
    table._USED.clear()
    assert benchmark_command(found, "o") is None


# ---------------------------------------------------------------------- variants


def test_variants_of_a_system_of_a_file(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    given: dict[str, Any] = {
        "system": CODE, "seeds": 2, "seed": 5, "device": "cpu",
        "settings": ["training.epochs=1", "model.hidden_size=5"],
    }  # fmt: skip
    plan = plan_ablation(data, out, **given)
    assert list(plan.runs) == [(name, seed) for seed in (5, 6) for name in ("linear", FULL)]
    assert plan.runs["linear", 5].folder == out / "linear" / "seed5"
    switched = {name: run.config.model.to_json() for (name, _), run in plan.runs.items()}
    assert switched == {
        "linear": {"hidden_size": 5, "small_weight": 0.01, "nonlinear": False},
        FULL: {"hidden_size": 5, "small_weight": 0.01, "nonlinear": True},
    }
    assert (plan.kind.name, plan.kind.paper, plan.kind.notes) == ("ablation", None, ())

    with one_thread():
        for run in plan.runs.values():
            emotailor.train(run.config, run.folder)
        (out / "ablation.json").write_text('{"format": "emotailor-ablation"}')
        result = ablate(data, out, resamples=50, **given)
    linear, full = result.results.rows
    assert (linear.title, full.title) == ("w/o ReLU", "Mean pooling")
    assert linear.differences["micro_f1"].value == pytest.approx(
        linear.spreads["micro_f1"].mean - full.spreads["micro_f1"].mean
    )
    assert full.differences == {}
    assert linear.published == {}
    assert next_command(plan, result) == f"emotailor report {out}"
    page = write_report(out).file.read_text(encoding="utf-8")
    assert "w/o ReLU" in page
    command = benchmark_command(read_benchmark(out / "ablation.json"), "o")
    assert command is not None
    assert f"--model {OWN.resolve()}:MeanPool" in " ".join(command.split())


def test_a_variant_that_is_the_full_model_is_skipped(data: Path, tmp_path: Path) -> None:
    plan = plan_ablation(data, tmp_path, system=CODE, settings=["model.nonlinear=false"], seeds=1)
    skipped = {system.row.name: system.skipped for system in plan.systems if system.skipped}
    assert skipped == {"linear": "the full model has these settings already"}


def test_variants_that_cannot_be() -> None:
    row = use_system(CODE)
    assert [variant.name for variant in chosen_variants(row)] == ["linear", FULL]
    with pytest.raises(ConfigError, match="unknown variant 'linaer'") as caught:
        chosen_variants(row, ["linaer"])
    assert caught.value.fix == "did you mean linear?"
    outside = replace(row, variants={"../x": Variant("../x", "x", {"nonlinear": False})})
    with pytest.raises(ConfigError, match=r"a variant '\.\./x'"):
        chosen_variants(outside)
    switched = replace(row, variants={FULL: Variant(FULL, "x", {"nonlinear": False})})
    with pytest.raises(ConfigError, match="'full' of Mean pooling changes nonlinear"):
        chosen_variants(switched)
    with pytest.raises(ConfigError, match="SIMM has no variants"):
        chosen_variants(find_system("simm"))
    wrong = Variant("x", "x", {"nonlinaer": False})
    with pytest.raises(ConfigError, match="nonlinaer"):
        wrong.apply(MeanPoolConfig())
