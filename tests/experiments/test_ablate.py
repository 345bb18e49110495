"""The ablation command: what is planned, what runs, what the table says."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from emotailor.configs.ablations import ABLATIONS, FULL, find_ablation
from emotailor.configs.tailor import TailorConfig
from emotailor.data.store import write_dataset
from emotailor.errors import ConfigError, DataError
from emotailor.experiments import ablate as module
from emotailor.experiments.ablate import NOTE, OTHER_DATA, ablate, chosen_variants, plan_ablation
from emotailor.experiments.benchmark import BenchmarkResult, Plan
from tests.experiments.runs import TOML, one_thread
from tests.helpers import DIMS, LABELS, SMALL, random_samples

SHORT = ["training.epochs=1"]


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
        expected = find_ablation(name).apply(SMALL.replace(initial_std=0.2))
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
    names = [row.name for row in chosen_variants([" identical", "common"])]
    assert names == ["common", "identical", "full"]
    assert len(chosen_variants(["all"])) == 12


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
        ({"settings": ["model.refinement=none"]}, ConfigError, "without_amr: model.refinement"),
        ({"settings": ['model.refinement_losses=["adversarial"]']}, ConfigError, "already"),
    ],
)
def test_mistakes(
    data: Path, tmp_path: Path, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_ablation(data, tmp_path / "o", **options)
    assert not (tmp_path / "o").exists()


def test_variants_that_need_words_are_skipped(tmp_path: Path, file: Path) -> None:
    splits = {name: random_samples(5, prefix=name) for name in ("train", "valid", "test")}
    write_dataset(tmp_path / "u", splits, name="u", label_names=LABELS, dims=DIMS, aligned=False)
    bare = [*SHORT, "alignment.kind=none"]
    found = plan(tmp_path / "u", tmp_path / "o", file, settings=bare)
    able = {s.row.name for s in found.systems if not s.skipped}
    assert able == {"without_amr", "common", "private"}  # nothing is summed step by step
    settings = [*bare, "model.common=concatenate"]
    assert len(plan(tmp_path / "u", tmp_path / "o", file, settings=settings).runs) == 24


# ---------------------------------------------------------------------- numbers


@pytest.fixture(scope="module")
def outcome(
    data: Path, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BenchmarkResult, Path]:
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


def test_means_differences_and_the_papers_numbers(outcome: tuple[BenchmarkResult, Path]) -> None:
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
    assert embedding.published == {
        "accuracy": 0.465, "micro_precision": 0.558, "micro_recall": 0.556, "micro_f1": 0.557
    }  # fmt: skip


def test_the_table_shows_the_paper_beside(outcome: tuple[BenchmarkResult, Path]) -> None:
    _, out = outcome
    lines = (out / "table.md").read_text().splitlines()
    header = next(line for line in lines if line.startswith("| system"))
    assert header.endswith("| Acc, paper | P, paper | R, paper | micro-F1, paper |")
    rows = [line for line in lines if line.startswith(("| w/ LE", "| TAILOR"))]
    assert rows[0].endswith("| .465 | .558 | .556 | .557 |")
    assert rows[1].endswith("| .488 | .641 | .512 | .569 |")
    assert f"- {NOTE}" in lines
    assert f"- {OTHER_DATA}" in lines
    with (out / "table.csv").open() as file:
        table = {row["system"]: row for row in csv.DictReader(file)}
    assert list(table) == ["label_embedding", "full"]
    assert table["full"]["micro_f1_published"] == "0.569"
    stored = json.loads((out / "ablation.json").read_text())
    assert stored["format"] == "emotailor-ablation"
    assert stored["paper"] == "Table 3"
    assert stored["test"] == {"reference": "full", "resamples": 50}
    assert stored["systems"]["label_embedding"]["config"]["model"]["label_decoder"] == "embedding"


def test_on_the_papers_data_nothing_warns(
    data: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "published_setting", lambda card: "aligned")
    assert plan(data, tmp_path, file).kind.notes == (NOTE,)
    assert plan(data, tmp_path, file, split="valid").kind.notes == (NOTE, OTHER_DATA)


def test_what_is_done_is_known(
    data: Path, file: Path, outcome: tuple[BenchmarkResult, Path]
) -> None:
    _, out = outcome
    found = plan(data, out, file, seeds=3, variants=["label_embedding"])
    assert sorted(found.states.values()) == ["done"] * 4 + ["new"] * 2
    with pytest.raises(ConfigError, match=r"training.epochs: 1 there, 2 now"):
        plan(data, out, file, settings=["training.epochs=2"])
    with pytest.raises(ConfigError, match="is no benchmark"):
        from emotailor.experiments.benchmark import plan_benchmark

        plan_benchmark(data, out)
