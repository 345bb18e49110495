"""The ablation command: what is planned, what runs, what the table says."""

import csv
import json
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from emotailor.comparison import ablate as module
from emotailor.comparison.ablate import (
    NOTE,
    PLANTED_COSTS,
    ablate,
    against_the_plant,
    chosen_variants,
    plan_ablation,
)
from emotailor.comparison.plan import Plan
from emotailor.comparison.runner import PlanResult
from emotailor.data.store import write_dataset
from emotailor.data.synthetic import SyntheticConfig, synthesize
from emotailor.errors import ConfigError, DataError
from emotailor.evaluation.baselines import NAMES
from emotailor.evaluation.comparison import PairedDifference
from emotailor.models.system import FULL
from emotailor.models.table import find_system
from emotailor.models.tailor.ablations import ABLATIONS
from emotailor.models.tailor.config import TailorConfig
from tests.helpers import DIMS, LABELS, SMALL, random_samples
from tests.runs.runs import TOML, one_thread

SHORT = ["training.epochs=1"]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tiny.toml"
SWITCHES = {
    f"model.{key}": json.dumps(value)
    for row in ABLATIONS.values()
    for key, value in row.changes.items()
}
"""A value of each setting that variants switch."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and a short training."""
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    path.write_text("\n".join(line for line in TOML.splitlines() if not line.startswith("seed")))
    return path


def plan(data: Path, out: Path, file: Path, **options: Any) -> Plan:
    given = {"config_file": file, "settings": SHORT, "seeds": 2, "seed": 5, **options}
    return plan_ablation(data, out, **given)


# ---------------------------------------------------------------------- planning


def test_every_variant_is_planned_with_every_seed(data: Path, file: Path, tmp_path: Path) -> None:
    found = plan(data, tmp_path / "o", file)
    assert list(found.runs) == [(name, seed) for seed in (5, 6) for name in ABLATIONS]
    for (name, seed), run in found.runs.items():
        assert run.folder == tmp_path / "o" / name / f"seed{seed}"
        assert run.config.system == "tailor"
        assert run.config.training.seed == seed
        assert run.config.training.epochs == 1
        expected = ABLATIONS[name].apply(SMALL.replace(initial_std=0.2))
        assert run.config.model == expected
    assert not (tmp_path / "o").exists()
    by_default = plan_ablation(data, tmp_path / "o", variants=["full"])
    assert [seed for _, seed in by_default.runs] == [42, 43, 44, 45, 46]


def test_variants_of_the_program(data: Path, tmp_path: Path) -> None:
    found = plan_ablation(data, tmp_path, preset="authors", seeds=1, variants=["identical"])
    model = found.runs["identical", 42].config.model
    assert model == TailorConfig.authors().replace(label_decoder="identical")
    assert found.runs[FULL, 42].config.training.learning_rate == 5e-5


def test_the_full_model_is_always_there() -> None:
    names = [row.name for row in chosen_variants(find_system("tailor"), [" identical", "common"])]
    assert names == ["common", "identical", "full"]
    assert len(chosen_variants(find_system("tailor"), ["all"])) == 12


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"variants": ["full", "half"]}, ConfigError, "unknown variant 'half'"),
        ({"variants": [""]}, ConfigError, "unknown variant ''"),
        ({"seeds": 0}, ConfigError, "0 seeds"),
        ({"jobs": 0}, ConfigError, "0 jobs"),
        ({"split": "tset"}, DataError, "no split 'tset'"),
        ({"settings": ["system=mult"]}, ConfigError, "system = 'mult'"),
        ({"settings": ["training.seed=3"]}, ConfigError, "give it with --seed"),
        ({"settings": ["data.path=/etc"]}, ConfigError, "give it with --data"),
        ({"settings": ["model=5"]}, ConfigError, "model = 5"),
        ({"settings": ["data=5"]}, ConfigError, "data = 5"),
        ({"settings": ["model.dropuot=0.1"]}, ConfigError, "did you mean model.dropout"),
        ({"settings": ["model.adversarial_weight=0"]}, ConfigError, "for variants to switch"),
        ({"config_file": EXAMPLE}, ConfigError, "all, lsan, .*, tailor are no tables of a run"),
    ],
)
def test_mistakes(
    data: Path, tmp_path: Path, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_ablation(data, tmp_path / "o", **options)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("key", SWITCHES)
def test_what_variants_switch_is_left_to_them(data: Path, tmp_path: Path, key: str) -> None:
    """Also where only other variants are chosen: the full model would not be the full one."""
    name, value = key.removeprefix("model."), SWITCHES[key]
    owners = [row.name for row in ABLATIONS.values() if name in row.changes]
    file = tmp_path / "x.toml"
    file.write_text(f"[model]\n{name} = {value}\n")
    for options in ({"settings": [f"{key}={value}"]}, {"config_file": file}):
        for variants in (["all"], ["full"], ["without_amr"], ["identical"]):
            with pytest.raises(ConfigError) as caught:
                plan_ablation(data, tmp_path / "o", variants=variants, seeds=1, **options)
            assert caught.value.found.startswith(f"{key} = ")
            assert caught.value.found.endswith(f"to switch: {', '.join(owners)}")
    default = json.dumps(TailorConfig.model_fields[name].default)
    harmless = plan_ablation(data, tmp_path / "o", seeds=1, settings=[f"{key}={default}"])
    assert len(harmless.runs) == 12


def test_the_order_of_losses_is_no_switch(data: Path, tmp_path: Path) -> None:
    default = TailorConfig.model_fields["refinement_losses"].default
    turned = f"model.refinement_losses={json.dumps(default[::-1])}"
    assert len(plan_ablation(data, tmp_path / "o", seeds=1, settings=[turned]).runs) == 12
    turned = f"model.fusion_order={json.dumps(['common', 'text', 'audio', 'visual'])}"
    with pytest.raises(ConfigError, match="is for variants to switch: order_vtac, order_atvc"):
        plan_ablation(data, tmp_path / "o", seeds=1, settings=[turned])


def test_a_variant_that_is_the_full_model_on_these_data_is_skipped(
    data: Path, file: Path, tmp_path: Path
) -> None:
    for options in ({"settings": ['data.modalities=["visual", "audio"]']}, {"modalities": "va"}):
        found = plan(data, tmp_path / "o", file, **options)
        skipped = {s.row.name: s.skipped for s in found.systems if s.skipped}
        assert skipped == {
            "order_vtac": "on these data it is the full model: visual, audio, common"
        }
        assert len(found.runs) == len(found.states) == 22


def test_variants_that_need_words_are_skipped(tmp_path: Path, file: Path) -> None:
    splits = {name: random_samples(5, prefix=name) for name in ("train", "valid", "test")}
    write_dataset(tmp_path / "u", splits, name="u", label_names=LABELS, dims=DIMS, aligned=False)
    bare = [*SHORT, "alignment.kind=none"]
    found = plan(tmp_path / "u", tmp_path / "o", file, settings=bare)
    able = {s.row.name for s in found.systems if not s.skipped}
    assert able == {"without_amr", "common", "private"}  # nothing is summed step by step
    settings = [*bare, "model.common=concatenate"]
    assert len(plan(tmp_path / "u", tmp_path / "o", file, settings=settings).runs) == 24


# ---------------------------------------------------------------------- the plant


def difference(low: float, high: float) -> dict[str, PairedDifference]:
    return {
        "micro_f1": PairedDifference(
            value=(low + high) / 2, low=low, high=high, level=0.95, p_value=0.5
        )
    }


def test_what_variants_should_cost_on_planted_data() -> None:
    found = {
        "common": difference(-0.3, -0.1),
        "identical": difference(-0.02, 0.04),
        "private": difference(-0.05, 0.03),
        "order_vtac": difference(-0.06, -0.02),
        "without_tokens": difference(0.02, 0.04),  # better is no cost
    }
    (line,) = against_the_plant(found)
    assert "w/ C{v,a,t}, w/ identical should cost micro-F1 (interval below 0)" in line
    assert "3 of 5 do as planted; not so: w/ identical (+0.010 [-0.020, +0.040]); " in line
    assert line.endswith("order v,t,a,c (-0.040 [-0.060, -0.020]).")
    assert set(PLANTED_COSTS) < set(ABLATIONS)
    assert against_the_plant({"common": {}}) == []
    (line,) = against_the_plant({"private": difference(-0.1, 0.1)})
    assert "none of these rows should cost" in line
    assert line.endswith("1 of 1 do as planted.")


def test_only_planted_data_are_held_against_the_plant(
    data: Path, file: Path, tmp_path: Path
) -> None:
    config = SyntheticConfig(
        train=9, valid=5, test=5, visual_dim=11, audio_dim=11, text_dim=11, seed=3
    )
    synthesize(config, tmp_path / "planted")
    costs = {"identical": difference(-0.3, -0.1)}
    assert plan(data, tmp_path / "o", file).kind.read(costs) == ()
    (line,) = plan(tmp_path / "planted", tmp_path / "o", file).kind.read(costs)
    assert line.endswith("1 of 1 do as planted.")


# ---------------------------------------------------------------------- numbers


@pytest.fixture(scope="module")
def outcome(
    data: Path, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PlanResult, Path]:
    """Two variants, two seeds each; trained in this process, tested as always."""
    import emotailor

    out = tmp_path_factory.mktemp("ablation") / "out"
    given: dict[str, Any] = {
        "config_file": file, "settings": SHORT, "seeds": 2, "seed": 5,
        "variants": ["label_embedding"],
    }  # fmt: skip
    with one_thread():
        for run in plan_ablation(data, out, **given).runs.values():
            emotailor.train(run.config, run.folder)
        (out / "ablation.json").write_text('{"format": "emotailor-ablation"}')
        result = ablate(data, out, resamples=50, **given)
    return result, out


def test_means_differences_and_the_papers_numbers(outcome: tuple[PlanResult, Path]) -> None:
    result, out = outcome
    assert result.failed == {}
    assert [path.name for path in result.stored] == [
        "ablation.json", "table.md", "table.csv", "table.tex"
    ]  # fmt: skip
    embedding, full = result.results.rows
    means = {}
    for row in (embedding, full):
        f1 = []
        for seed in (5, 6):
            file = out / row.name / f"seed{seed}" / "evaluation-test.json"
            f1.append(json.loads(file.read_text())["metrics"]["tuned"]["micro_f1"])
        means[row.name] = sum(f1) / 2
        assert row.spreads["micro_f1"].mean == pytest.approx(means[row.name])
        assert row.spreads["micro_f1"].std == pytest.approx(abs(f1[0] - f1[1]) / 2**0.5)
    assert full.differences == {}
    found = embedding.differences["micro_f1"]
    assert found.value == pytest.approx(means["label_embedding"] - means["full"])
    assert result.results.reference == "TAILOR"
    # both attentions of a label: 4 d (d + 1) numbers each
    assert full.parameters is not None
    assert embedding.parameters == full.parameters - 2 * 4 * 12 * 13
    # these are no data of the paper
    assert embedding.published == {}


def test_the_table_has_baselines_and_no_numbers_of_other_data(
    outcome: tuple[PlanResult, Path],
) -> None:
    _, out = outcome
    lines = (out / "table.md").read_text().splitlines()
    header = next(line for line in lines if line.startswith("| system"))
    assert "paper" not in header
    assert f"- {NOTE}" not in lines

    # then come the tables of AP and AUC by label, of the same rows
    first = list(takewhile(bool, lines[lines.index(header) :]))
    rows = [line.split("|")[1].strip() for line in first[2:]]
    assert [name for name in rows if name in NAMES] == list(NAMES)

    with (out / "table.csv").open() as file:
        table = {row["system"]: row for row in csv.DictReader(file)}
    assert list(table) == ["label_embedding", "full", *NAMES]
    assert table["full"]["micro_f1_published"] == ""
    stored = json.loads((out / "ablation.json").read_text())
    assert stored["format"] == "emotailor-ablation"
    assert stored["paper"] is None
    assert (stored["test"]["reference"], stored["test"]["resamples"]) == ("full", 50)
    assert list(stored["baselines"]) == list(NAMES)
    assert stored["systems"]["label_embedding"]["config"]["model"]["label_decoder"] == "embedding"


def test_the_papers_numbers_stand_beside_its_data_alone(
    data: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "published_setting", lambda dataset: "aligned")
    kind = plan(data, tmp_path, file).kind
    assert (kind.paper, kind.notes) == ("Table 3", (NOTE,))
    assert kind.published["label_embedding"] == {
        "accuracy": 0.465, "micro_precision": 0.558, "micro_recall": 0.556, "micro_f1": 0.557
    }  # fmt: skip
    other = plan(data, tmp_path, file, split="valid").kind
    assert (other.paper, other.published) == (None, {})


def test_what_is_done_is_known(data: Path, file: Path, outcome: tuple[PlanResult, Path]) -> None:
    _, out = outcome
    found = plan(data, out, file, seeds=3, variants=["label_embedding"])
    assert sorted(found.states.values()) == ["done"] * 4 + ["new"] * 2
    with pytest.raises(ConfigError, match=r"training.epochs: 1 there, 2 now"):
        plan(data, out, file, settings=["training.epochs=2"])
    with pytest.raises(ConfigError, match="is no benchmark"):
        from emotailor.comparison.benchmark import plan_benchmark

        plan_benchmark(data, out)
