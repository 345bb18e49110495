"""Tables for the terminal, Markdown, CSV and LaTeX: the same numbers, and nothing breaks out."""

import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console

from emotailor.comparison.runner import PlanResult
from emotailor.evaluation.comparison import PairedDifference, Spread
from emotailor.evaluation.tables import (
    COLUMNS,
    Results,
    Row,
    duration,
    escape_latex,
    short,
    signed,
    spread,
    to_csv,
    to_dataframe,
    to_latex,
    to_markdown,
    to_terminal,
)
from tests.evaluation.fake_pandas import with_fake_pandas


def spreads(mean: float, std: float | None) -> dict[str, Spread]:
    return {name: Spread(mean=mean, std=std, runs=2) for name in COLUMNS}


DIFFERENCE = PairedDifference(value=-0.0123, low=-0.03, high=0.006, level=0.95, p_value=0.1234)
TAILOR = Row(
    "tailor", "TAILOR", 2, 2, spreads(0.5691, 0.0034), seconds=3723.0, parameters=10_371_343
)
OTHER = Row(
    "ml_gcn", "ML-GCN", 2, 3, spreads(0.5568, 0.0012), {"micro_f1": DIFFERENCE},
    {"accuracy": 0.411, "micro_f1": 0.509}, seconds=4.25, parameters=5,
    notes=("seed 44 failed, exit code 5: a_b\n  50% | c",),
)  # fmt: skip
FAILED = Row("x", "X<1>", 0, 2, notes=("seed 42 failed, exit code 1: \\input{/etc/passwd}",))
SKIPPED = Row("sgm", "SGM", 0, 0, notes=("skipped: no text",))
RESULTS = Results((OTHER, FAILED, SKIPPED, TAILOR), "mosei_1, split test", "TAILOR", ("± is so.",))


def with_more() -> Results:
    """Two systems and a baseline with labels, calibration and what the authors' rule reports."""

    def single(value: float, std: float | None = None) -> Spread:
        return Spread(mean=value, std=std, runs=2)

    def labels(ap: float, auc: float) -> dict[str, dict[str, Spread]]:
        both = {"average_precision": single(ap, 0.01), "roc_auc": single(auc, 0.02)}
        return {"happy": both, "sad|": {"average_precision": single(0.25)}}

    tailor = replace(
        TAILOR,
        spreads={**TAILOR.spreads, "calibration_error": single(0.0321, 0.001)},
        labels=labels(0.711, 0.812),
        rule="e",
        by_rule=single(0.5872, 0.0041),
    )
    other = replace(OTHER, labels=labels(0.613, 0.714), rule="d", by_rule=single(0.6))
    floor = Row("words", "words", 1, 1, labels=labels(0.515, 0.616), is_baseline=True)
    return Results((other, tailor), "mosei", "TAILOR", baselines=(floor,))


def test_labels_calibration_and_rules_in_markdown() -> None:
    text = to_markdown(with_more())
    lines = text.splitlines()
    header = lines[2]
    assert header.endswith(
        "| ECE | micro-F1 - TAILOR's [95 %] | p | training | parameters | "
        "micro-F1, authors' rule | Acc, paper | micro-F1, paper |"
    )
    other, tailor = lines[4], lines[5]
    assert "| .600 (d) | .411 | .509 |" in other
    assert "| .032 ± .001 |" in tailor
    assert "| .587 ± .004 (e) |" in tailor

    start = lines.index("## Average precision of each label")
    assert lines[start + 2 : start + 7] == [
        "| system | happy | sad\\| |",
        "|---|---:|---:|",
        "| ML-GCN | .613 ± .010 | .250 |",
        "| TAILOR | .711 ± .010 | .250 |",
        "| words | .515 ± .010 | .250 |",
    ]
    auc = lines.index("## AUC of each label")
    assert lines[auc + 5] == "| TAILOR | .812 ± .020 | n/a |"

    # the rules that are shown are explained, the others are not
    assert "d: best epoch and threshold on test; e: as b" in text
    assert "c: best epoch" not in text


def test_labels_calibration_and_rules_elsewhere() -> None:
    results = with_more()
    found = {row["system"]: row for row in csv.DictReader(io.StringIO(to_csv(results)))}
    tailor, words = found["tailor"], found["words"]
    assert (tailor["rule"], tailor["micro_f1_by_rule_mean"]) == ("e", "0.5872")
    assert tailor["calibration_error_mean"] == "0.0321"
    assert tailor["average_precision: happy"] == "0.711"
    assert (tailor["roc_auc: happy"], tailor["roc_auc: sad|"]) == ("0.812", "")
    assert (words["rule"], words["average_precision: happy"]) == ("", "0.515")

    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(to_terminal(results))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for cell in (".711±.010", ".587±.004 (e)", ".032±.001"):
        assert cell in text


def test_numbers() -> None:
    assert [short(x) for x in (0.5691, 0.0, 1.0, 0.9996)] == [".569", ".000", "1.000", "1.000"]
    assert [signed(x) for x in (0.0123, -0.0123, 0.0)] == ["+.012", "-.012", "+.000"]
    assert spread(Spread(mean=0.5, std=0.25, runs=2)) == ".500 ± .250"
    assert spread(Spread(mean=0.5, std=None, runs=1)) == ".500"
    assert spread(None) == "n/a"
    assert [duration(x) for x in (4.25, 59.9)] == ["4.2 s", "59.9 s"]
    assert [duration(x) for x in (60.0, 3723.4)] == ["0:01:00", "1:02:03"]
    states = [row.status for row in RESULTS.rows]
    assert states == ["incomplete", "failed", "skipped", "done"]


def test_markdown() -> None:
    lines = to_markdown(RESULTS).splitlines()
    header, _, other, failed, skipped, tailor = lines[2:8]
    assert header == (
        "| system | runs | Acc | P | R | micro-F1 | macro-F1 | mAP | "
        "micro-F1 - TAILOR's [95 %] | p | training | parameters | Acc, paper | micro-F1, paper |"
    )
    cells = ".557 ± .001 | " * 6
    assert other == (
        f"| ML-GCN | 2/3 | {cells}-.012 [-.030, +.006] | 0.1234 | 4.2 s | 5 | .411 | .509 |"
    )
    assert failed.startswith("| X&lt;1> | 0/2 | failed |  |")
    assert skipped.startswith("| SGM |  | skipped |  |")
    assert "| **.569 ± .003** |" in tailor
    assert "| 1:02:03 | 10,371,343 |" in tailor
    assert {line.replace("\\|", "").count("|") for line in lines[2:8]} == {15}
    assert "- ML-GCN: seed 44 failed, exit code 5: a_b 50% \\| c" in lines
    assert lines[-1] == "- ± is so."


def test_csv_has_the_numbers_themselves() -> None:
    rows = {row["system"]: row for row in csv.DictReader(io.StringIO(to_csv(RESULTS)))}
    assert rows["tailor"]["micro_f1_mean"] == "0.5691"
    assert rows["tailor"]["accuracy_std"] == "0.0034"
    assert rows["tailor"]["micro_f1_difference"] == ""
    assert rows["ml_gcn"]["micro_f1_difference"] == "-0.0123"
    assert rows["ml_gcn"]["accuracy_published"] == "0.411"
    assert (rows["x"]["status"], rows["x"]["accuracy_mean"]) == ("failed", "")
    assert rows["ml_gcn"]["message"] == "seed 44 failed, exit code 5: a_b 50% | c"


def test_latex() -> None:
    text = to_latex(RESULTS)
    lines = text.splitlines()
    assert r"\caption{mosei\_1, split test}" in lines
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert body[0].startswith(r"ML-GCN & 2/3 & .557 $\pm$ .001 & ")
    assert r" & $-$.012 [$-$.030, $+$.006] & 0.1234 & .411 & .509 \\" in body[0]
    assert body[1].startswith(r"X\textless{}1\textgreater{} & 0/2 & failed & ")
    assert r"\textbf{.569 $\pm$ .003}" in body[3]
    assert {line.count(" & ") for line in body} == {11}
    assert r"\begin{tabular}{lrrrrrrrrrrr}" in lines
    assert r"\input" not in text
    assert "\x00" not in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\end{table}", r"\textbackslash{}end\{table\}"),
        ("50% & more_$1 #2", r"50\% \& more\_\$1 \#2"),
        ("a~b^c", r"a\textasciitilde{}b\textasciicircum{}c"),
        ("a % b\n\\c", r"a \% b \textbackslash{}c"),
        ("0.5 ± 0.1", r"0.5 $\pm$ 0.1"),
    ],
)
def test_what_latex_would_take_for_commands(text: str, expected: str) -> None:
    assert escape_latex(text) == expected


def shown(results: Results, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(to_terminal(results))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    return text


def test_terminal() -> None:
    text = shown(RESULTS)
    assert [" ".join(x.split()) for x in text.splitlines() if x.lstrip().startswith("ML-GCN")] == [
        "ML-GCN 2/3" + " .557±.001" * 6,
        "ML-GCN -.012 [-.030, +.006] 0.1234 4.2 s 5",
        "ML-GCN .411 .509",
    ]
    assert "X<1>" in text
    assert "note: SGM: skipped: no text" in text
    markup = replace(TAILOR, title="[bold]x")
    assert "[bold]x" in shown(Results((markup,), "[i]"))


def test_a_table_without_any_result() -> None:
    empty = Results((FAILED, SKIPPED), "t")
    assert "failed" in shown(empty)
    assert "parameters" not in shown(empty)
    for render in (to_markdown, to_csv, to_latex):
        assert "failed" in render(empty)
    alone = Results((replace(TAILOR, spreads=spreads(0.5, None)),), "t")
    assert ".500" in shown(alone)
    assert "±" not in shown(alone)


def test_metrics_of_others_stand_behind_ours_and_are_never_bold() -> None:
    first, *rest = RESULTS.rows
    extra = {"[b]kappa": Spread(mean=0.987654, std=0.0123, runs=2)}
    results = replace(RESULTS, rows=[replace(first, spreads={**first.spreads, **extra}), *rest])
    header, *_ = csv.reader(io.StringIO(to_csv(results)))
    start = 4 + 2 * len(COLUMNS)
    assert header[start : start + 2] == ["[b]kappa_mean", "[b]kappa_std"]
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    assert rows[0]["[b]kappa_mean"] == "0.987654"
    assert rows[1]["[b]kappa_mean"] == ""
    assert "| .988 ± .012 |" in to_markdown(results)
    assert r"& .988 $\pm$ .012 &" in to_latex(results)
    console = Console(file=io.StringIO(), width=80)
    console.print(to_terminal(results))
    assert isinstance(console.file, io.StringIO)
    text = "".join(console.file.getvalue().split())
    assert "[b]" in text
    assert ".988" in text


FLOOR = Row(
    "label frequencies", "label frequencies", 1, 1, spreads(0.581, None),
    {"micro_f1": DIFFERENCE}, is_baseline=True,
)  # fmt: skip
BEATEN = replace(TAILOR, below="label frequencies (micro-F1 .569 against .581)")
WEAK = Results((OTHER, BEATEN), "mosei_1", "TAILOR", ("± is so.",), (FLOOR,), weak_reference=True)


def test_a_row_below_a_baseline_is_marked() -> None:
    assert (TAILOR.shown, BEATEN.shown, FLOOR.status) == ("TAILOR", "TAILOR †", "baseline")
    lines = to_markdown(WEAK).splitlines()
    tailor, floor = lines[5:7]
    assert tailor.startswith("| TAILOR † | 2/2 |")
    assert floor.startswith("| label frequencies |  | **.581** |")
    assert lines[8] == "- † TAILOR is below label frequencies (micro-F1 .569 against .581)."

    latex = to_latex(WEAK).splitlines()
    assert latex[latex.index(r"\midrule") + 3] == r"\midrule"
    assert any(line.startswith(r"TAILOR $^{\dagger}$ & 2/2") for line in latex)

    rows = {row["system"]: row for row in csv.DictReader(io.StringIO(to_csv(WEAK)))}
    assert rows["tailor"]["below"] == BEATEN.below
    assert rows["label frequencies"]["status"] == "baseline"
    assert float(rows["label frequencies"]["micro_f1_mean"]) == 0.581


def test_p_values_against_a_weak_reference_are_marked() -> None:
    assert "| 0.1234 † |" in to_markdown(WEAK)
    assert "0.1234 †" not in to_markdown(replace(WEAK, weak_reference=False))
    (note,) = [note for note in WEAK.all_notes() if note.startswith("p †")]
    assert "TAILOR" in note


def test_precision_and_recall_of_baselines_are_not_called_best() -> None:
    every = replace(FLOOR, title="all labels", spreads=spreads(1.0, None))
    row = to_markdown(replace(WEAK, baselines=(every,))).splitlines()[6]
    assert row.startswith("| all labels |  | **1.000** | 1.000 | 1.000 | **1.000** |")


def test_a_data_frame_has_the_columns_of_the_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    with_fake_pandas(monkeypatch)
    frame = to_dataframe(RESULTS)
    header = to_csv(RESULTS).splitlines()[0].split(",")
    assert frame.index == "system"
    assert [list(row) for row in frame.rows] == [header] * len(RESULTS.rows)
    by_name = {row["system"]: row for row in frame.rows}
    assert by_name["tailor"]["micro_f1_mean"] == 0.5691
    assert by_name["x"]["micro_f1_mean"] is None


def test_the_result_of_a_benchmark_is_short_and_a_table() -> None:
    result = PlanResult(RESULTS, {("x", 42): "no"}, ())
    assert repr(result).endswith("; 1 runs failed)")
    assert len(repr(result)) < 120
    assert result._repr_html_().count("<tr>") == len(RESULTS.rows) + 1


def test_systems_that_are_skipped_for_one_reason_share_a_note() -> None:
    rows = [
        replace(SKIPPED, name=name, title=title, notes=(f"skipped: {why}",))
        for name, title, why in (
            ("sgm", "SGM", "no text"), ("mult", "MulT", "too few"), ("lsan", "LSAN", "no text"),
        )
    ]  # fmt: skip
    notes = Results((rows[0], TAILOR, *rows[1:]), "mosei").all_notes()
    assert notes == ["SGM, LSAN: skipped: no text", "MulT: skipped: too few"]


def test_the_calibration_error_is_explained_where_it_is_shown() -> None:
    explained = [note for note in with_more().all_notes() if note.startswith("ECE: ")]
    assert len(explained) == 1
    assert not any("ECE" in note for note in WEAK.all_notes())


def test_what_is_said_of_several_systems_is_said_once() -> None:
    rows = [replace(TAILOR, name=name, title=name, notes=("5 are left out",)) for name in "ab"]
    rows.append(replace(TAILOR, name="c", title="c", notes=("5 are left out", "check: x")))
    notes = Results(tuple(rows), "mosei").all_notes()
    assert notes == ["a, b, c: 5 are left out", "c: check: x"]
