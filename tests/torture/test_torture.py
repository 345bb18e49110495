"""A small form of what ``make torture`` does at full length, and proof that it finds faults."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def of_a_child(code: str, folder: Path) -> str:
    """Run a few lines in a process of its own, as what they change is never undone."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it forks, and asks /proc")
def test_a_little_of_everything_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "quick"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    found = re.findall(r"^(\w+): (\d+) tried, (\d+) failed", done.stdout, re.MULTILINE)
    assert {kind for kind, _, _ in found} == {"kills", "power", "flips", "disks", "pairs", "fuzz"}
    assert all(int(tried) > 0 and failed == "0" for _, tried, failed in found)


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc")
def test_a_kill_in_the_middle_of_a_write_leaves_half_of_it(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.torture.calls import Kill, watch
folder = Path(sys.argv[1])
watch(folder, Kill(3, "middle"))  # mkdir, open, write, open, write
(folder / "a").mkdir()
(folder / "a" / "one").write_bytes(b"12345678")
(folder / "a" / "two").write_bytes(b"12345678")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -9
    assert (tmp_path / "a" / "one").read_bytes() == b"12345678"
    assert not (tmp_path / "a" / "two").exists()

    done = subprocess.run(
        [sys.executable, "-c", code.replace("Kill(3", "Kill(4").replace('"a").mk', '"b").mk')
         .replace('"a" /', '"b" /'), str(tmp_path)],
        cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == -9
    assert (tmp_path / "b" / "two").read_bytes() == b"1234"


POWER = """
import json, os, sys
from pathlib import Path
from tests.torture.calls import watch
from tests.torture.power import Recorder
folder = Path(sys.argv[1])
(folder / "index").write_bytes(b"old")
recorder = Recorder(folder, seed=0)
watch(folder, recorder)
def sync(path):
    number = os.open(path, os.O_RDONLY)
    os.fsync(number)
    os.close(number)
new = folder / "new"
new.write_bytes(b"the new one")
SYNC_FILE
os.replace(new, folder / "index")
SYNC_FOLDER
found = {}
for _, variant, tree in recorder.left:
    content = tree.get("index")
    found.setdefault(variant, []).append("gone" if content is None else content.decode())
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc")
def test_a_power_cut_takes_what_was_not_synced(tmp_path: Path) -> None:
    careless = POWER.replace("SYNC_FILE", "").replace("SYNC_FOLDER", "")
    (tmp_path / "careless").mkdir()
    found = json.loads(of_a_child(careless, tmp_path / "careless"))
    assert set(found["names"]) == {"old", ""}  # the name is there, its bytes are lost
    assert set(found["synced"]) == {"old"}

    careful = POWER.replace("SYNC_FILE", "sync(new)").replace("SYNC_FOLDER", "sync(folder)")
    (tmp_path / "careful").mkdir()
    found = json.loads(of_a_child(careful, tmp_path / "careful"))
    contents = [content for of_variant in found.values() for content in of_variant]
    assert set(contents) == {"old", "the new one"}  # never less, whatever is lost


def test_a_flip_is_judged_by_what_comes_out() -> None:
    from tests.torture.children import Ended
    from tests.torture.flips import Flip, judge

    flip = Flip("evaluate", "run/model/model.json", 3, 1)
    whole = Ended(0, "F1 0.5", "")
    tree = {"run/model/model.json": b"{}", "run/evaluation.json": b"0.5"}
    other = {**tree, "run/evaluation.json": b"0.6"}

    assert judge(flip, whole, tree, whole, tree)[0] == "the same"
    assert judge(flip, whole, other, whole, tree)[0] == "wrong"
    assert judge(flip, Ended(0, "F1 0.6", ""), tree, whole, tree)[0] == "wrong"
    told = Ended(0, "F1 0.6", "warning: model.json is damaged")
    assert judge(flip, told, other, whole, tree)[0] == "told"
    refused = Ended(5, "", "error: run/model/model.json is damaged")
    assert judge(flip, refused, tree, whole, tree)[0] == "refused"
    assert judge(flip, Ended(5, "", "error: no model"), tree, whole, tree)[0] == "wrong"
    traced = Ended(1, "", "Traceback (most recent call last):\nKeyError: model.json")
    assert judge(flip, traced, tree, whole, tree)[0] == "wrong"
