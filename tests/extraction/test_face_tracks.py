"""Which face is followed, on hand-made detections whose answers can be told by hand."""

import numpy as np
import pytest

from emotailor.extraction.face_tracks import FaceTracks, Followed, SeenFace


def face(name: int, x: float, size: float = 0.2, *, mouth: float = 0.0, y: float = 0.5) -> SeenFace:
    """A square face whose only feature says whose it is."""
    half = size / 2
    box = (x - half, y - half, x + half, y + half)
    return SeenFace(box, mouth, np.array([name], np.float32))


def follow(pictures: list[list[SeenFace]], rate: float = 10.0) -> Followed:
    tracks = FaceTracks()
    for i, faces in enumerate(pictures):
        tracks.add(i / rate, faces)
    return tracks.followed()


def names(found: Followed) -> list[int]:
    return [int(seen.values[0]) for seen in found.faces]


def test_two_faces_exchange_their_order() -> None:
    pictures = []
    for i in range(10):
        faces = [face(1, 0.3, 0.20), face(2, 0.7, 0.30)]
        pictures.append(faces if i % 2 else faces[::-1])
    found = follow(pictures)
    assert names(found) == [2] * 10
    assert (found.tracks, found.at_once, found.by_mouth) == (1, 2, False)
    assert found.notes == (
        "2 faces at a time; the larger one was followed; "
        "it was seen in 100 % of the pictures (10 of 10)",
    )


def test_two_faces_move_past_each_other_s_place() -> None:
    # both move by .15, so each comes nearer to where the other was than boxes are wide
    left = [0.30, 0.45, 0.60, 0.75, 0.90]
    pictures = [[face(1, x, 0.3), face(2, x - 0.35, 0.2)] for x in left]
    assert names(follow(pictures)) == [1] * 5


def test_of_two_alike_the_one_that_speaks() -> None:
    # areas 1 : .81, and the smaller one opens and closes the mouth
    pictures = []
    for i in range(12):
        speaks = 0.4 * (i % 2)
        pictures.append([face(1, 0.3, 0.20, mouth=0.1), face(2, 0.7, 0.18, mouth=speaks)])
    found = follow(pictures)
    assert names(found) == [2] * 12 and found.by_mouth
    assert "mouth moves more" in found.notes[0]

    # areas 1 : .49 are no longer alike
    pictures = [[a, face(2, 0.7, 0.14, mouth=b.mouth)] for a, b in pictures]
    found = follow(pictures)
    assert names(found) == [1] * 12 and not found.by_mouth


def test_a_gap_is_bridged_and_has_no_rows() -> None:
    # gone for 1.9 seconds, while a smaller face stays
    beside = face(2, 0.8, 0.1)
    pictures = [[beside] if 10 <= i < 29 else [beside, face(1, 0.3)] for i in range(40)]
    found = follow(pictures)
    assert found.pictures == (*range(10), *range(29, 40))
    assert names(found) == [1] * 21
    assert found.notes == (
        "2 faces at a time; the larger one was followed; "
        "it was seen in 52 % of the pictures (21 of 40)",
    )


def test_a_longer_gap_is_filled_by_who_is_there() -> None:
    # from 3.0 to 7.9 seconds: longer than the gap that is waited for
    beside = face(2, 0.8, 0.1)
    pictures = [[beside] if 30 <= i < 80 else [beside, face(1, 0.3)] for i in range(110)]
    found = follow(pictures)
    # .04 for 3 seconds is more than .01 for 10, and after 10 seconds it makes no difference
    assert names(found) == [1] * 30 + [2] * 50 + [1] * 30
    assert found.tracks == 3


def test_a_face_that_passes_by_does_not_count() -> None:
    # .16 for half a second, beside .04 for four
    pictures = [[face(1, 0.25)] for _ in range(40)]
    for i in range(20, 25):
        pictures[i].insert(0, face(2, 0.7, 0.4))
    assert names(follow(pictures)) == [1] * 40


def test_a_head_that_comes_back_elsewhere_is_waited_for() -> None:
    # two tracks of one person, 1.5 seconds apart: the face beside does not count between them
    beside = face(2, 0.9, 0.1)
    pictures = []
    for i in range(60):
        where = 0.2 if i < 20 else 0.6
        pictures.append([beside] if 20 <= i < 35 else [face(1, where, 0.3), beside])
    found = follow(pictures)
    assert found.pictures == (*range(20), *range(35, 60))
    assert set(names(found)) == {1}


def test_cuts_between_speakers() -> None:
    # shots of .8, .5 and .9 seconds with a face each; the small one of the last does not count
    pictures = [[face(1, 0.3)]] * 8 + [[face(2, 0.7)]] * 5
    pictures += [[face(3, 0.8, 0.08), face(1, 0.3)]] * 9
    found = follow(pictures)
    # the first face is back in its place after less than the gap: one track, waited for
    assert names(found) == [1] * 17
    assert found.pictures == (*range(8), *range(13, 22))

    # after more than the gap each shot has its own
    pictures = [[face(1, 0.3)]] * 8 + [[face(2, 0.7)]] * 25 + [[face(1, 0.3)]] * 9
    found = follow(pictures)
    assert names(found) == [1] * 8 + [2] * 25 + [1] * 9
    assert found.notes == (
        "3 faces or shots in turn were followed; it was seen in 100 % of the pictures (42 of 42)",
    )


def test_a_close_up_is_another_track_than_the_face_from_afar() -> None:
    pictures = [[face(1, 0.5, 0.1)]] * 5 + [[face(2, 0.5, 0.4)]] * 5
    found = follow(pictures)
    assert names(found) == [1] * 5 + [2] * 5 and found.tracks == 2


def test_an_error_of_the_detector_does_not_count() -> None:
    pictures = [[face(1, 0.3)]] * 10
    pictures[4] = [face(1, 0.3), face(9, 0.8, 0.6)]
    pictures[7] = [face(9, 0.8, 0.6)]
    found = follow(pictures)
    assert names(found) == [1] * 9 and found.at_once == 1
    # but two pictures are enough where there are no more
    assert names(follow([[face(1, 0.3)]] * 2)) == [1, 1]


@pytest.mark.parametrize("count", [0, 5])
def test_no_face(count: int) -> None:
    found = follow([[] for _ in range(count)])
    assert found.pictures == () and found.faces == ()
    assert found.notes == (f"no face was seen in {count} pictures",)


def test_the_same_face_at_a_low_rate() -> None:
    # one picture in 3 seconds is rarer than the gap: every picture begins a track, and all count
    found = follow([[face(1, 0.3)]] * 4, rate=1 / 3)
    assert names(found) == [1] * 4
