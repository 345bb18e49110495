"""Tables of OpenFace as features over time."""

from pathlib import Path

import numpy as np
import pytest

from emotailor.errors import DataError
from emotailor.extraction.openface import read_openface

TWO_FACES = """frame,face_id,timestamp,confidence,success,AU12_r,AU12_c
1,0,0.00,0.98,1,1.5,1
1,1,0.00,0.98,1,0.1,0
2,0,0.04,0.10,0,0.0,0
2,1,0.04,0.98,1,0.2,0
3,1,0.08,0.98,1,0.3,0
4,0,0.12,0.98,1,2.5,1
4,1,0.12,0.20,1,-nan(ind),0
5,1,0.16,0.98,1,0.5,1
"""


def test_the_face_that_is_found_most_often(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TWO_FACES)
    face = read_openface(tmp_path / "a.csv")
    assert face.names == ("AU12_r", "AU12_c")
    np.testing.assert_allclose(face.column("AU12_r"), [0.1, 0.2, 0.3, 0.5])
    assert face.column("AU12_c").tolist() == [0, 0, 0, 1]
    expected = [[0, 0.04], [0.04, 0.08], [0.08, 0.12], [0.16, 0.2]]
    np.testing.assert_allclose(face.intervals, expected)
    assert face.notes == (
        "OpenFace found the face in 4 of 5 frames",
        "3 rows are of other faces, and left out",
    )


def test_columns_go_by_name(tmp_path: Path) -> None:
    # other order, blanks, and neither face_id nor confidence
    text = "AU45_r , timestamp, success, AU01_r\n1.0, 0.0, 1, 3.0\n9.0, 0.1, 0, 9.0\n"
    (tmp_path / "a.csv").write_text(text)
    face = read_openface(tmp_path / "a.csv")
    assert face.names == ("AU45_r", "AU01_r") and face.values.tolist() == [[1, 3]]
    np.testing.assert_allclose(face.intervals, [[0, 0.1]])
    assert face.notes == ("OpenFace found the face in 1 of 2 frames",)


def test_no_face_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("timestamp,success,AU01_r\n0.0,0,0.0\n0.1,0,0.0\n")
    face = read_openface(tmp_path / "a.csv")
    assert face.values.shape == (0, 1) and face.intervals.shape == (0, 2)


def test_other_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("start,end,F0\n0,1,2\n")
    with pytest.raises(DataError, match="not from OpenFace"):
        read_openface(tmp_path / "a.csv")


def test_a_real_table(shared_data: Path) -> None:
    face = read_openface(shared_data / "mosei_clips" / "-Eqdz5y4pEY.openface.csv")
    assert face.values.shape == (1713, 35) and face.values.dtype == np.float32
    assert face.names[8] == "AU12_r" and face.names[-1] == "AU45_c"
    assert face.intervals[0].tolist() == [0.801, 0.834]
    assert face.column("AU12_r").max() == 2.0
    assert face.notes == ("OpenFace found the face in 1713 of 1758 frames",)
