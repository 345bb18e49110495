"""The benchmark of the alignment module runs at a tiny size; times are never asserted."""

import json
from pathlib import Path

import pytest

from benchmarks import unaligned
from emotailor.verified import content_of
from tests.benchmarks.test_benchmarks import TINY


@pytest.mark.parametrize("extra", [[], ["--ragged", "--whole"]])
def test_unaligned(tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str]) -> None:
    file = tmp_path / "step.json"
    sizes = ["--batch", "3", "--source", "23", "--target", "7", "--repeats", "2"]
    result = unaligned.main([*TINY, *sizes, *extra, "--json", str(file)])
    assert content_of(json.loads(file.read_text())) == result
    without, aligned = result["rows"]
    assert (without["program"], aligned["program"]) == ("without", "aligned")
    assert len(aligned["seconds"]) == 2
    expected = aligned["seconds_median"] / without["seconds_median"] - 1
    assert aligned["added_seconds"] == pytest.approx(expected)
    assert set(result["profile_cpu_seconds"]) == {"lstm", "softmax and sum", "ctc loss"}
    assert result["memory_peak"] > 50 * 2**20
    assert "peak memory" in capsys.readouterr().out
