import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emotailor.data.padding import nonzero_steps, real_span, strip_padding
from emotailor.data.sample import Modality


def steps(*values: float, dim: int = 2) -> np.ndarray:
    """One row per value, in feature 0; the other features are zero."""
    array = np.zeros((len(values), dim), np.float32)
    array[:, 0] = values
    return array


def test_real_span_goes_from_the_first_to_the_last_real_step() -> None:
    assert real_span(np.array([False, True, False, True, False])) == slice(1, 4)
    assert real_span(np.array([False, False])) == slice(0, 0)
    assert real_span(np.zeros(0, bool)) == slice(0, 0)


def test_unaligned_modalities_are_cut_by_themselves_and_keep_zeros_in_between() -> None:
    cut = strip_padding(
        {"visual": steps(0, 0, 1, 0, 2), "audio": steps(3, 0, 0), "text": steps(0, 0, 0, 0)},
        aligned=False,
    )
    assert {m: s[:, 0].tolist() for m, s in cut.items()} == {"visual": [1, 0, 2], "audio": [3]}


def test_aligned_modalities_lose_only_steps_that_are_zero_in_all() -> None:
    cut = strip_padding(
        {
            "visual": steps(0, 0, 1, 0, 0, 0, dim=3),
            "audio": steps(0, 0, 0, 0, 2, 0, dim=5),
            "text": steps(0, 4, 0, 0, 0, 0, dim=7),
        },
        aligned=True,
    )
    assert {m: s[:, 0].tolist() for m, s in cut.items()} == {
        "visual": [0, 1, 0, 0],
        "audio": [0, 0, 0, 2],
        "text": [4, 0, 0, 0],
    }


def test_an_aligned_modality_that_is_zero_throughout_is_missing() -> None:
    cut = strip_padding({"visual": steps(0, 0, 0), "text": steps(0, 1, 2)}, aligned=True)
    assert list(cut) == ["text"] and len(cut["text"]) == 2
    assert strip_padding({"visual": steps(0, 0), "text": steps(0, 0)}, aligned=True) == {}


def test_nan_and_infinity_are_real_but_negative_zero_is_not() -> None:
    values = steps(-0.0, np.nan, 1, -np.inf, 0)
    assert nonzero_steps(values).tolist() == [False, True, True, True, False]
    assert len(strip_padding({"audio": values}, aligned=False)["audio"]) == 3


def test_given_lengths_win_over_detection() -> None:
    given_lengths: dict[Modality, int] = {"audio": 3, "visual": 0}
    cut = strip_padding(
        {"visual": steps(1, 1), "audio": steps(5, 0, 0, 0), "text": steps(1, 0, 0)},
        aligned=False,
        lengths=given_lengths,
    )
    assert {m: s[:, 0].tolist() for m, s in cut.items()} == {"audio": [5, 0, 0], "text": [1]}


def test_given_lengths_count_from_the_end_where_the_padding_is_in_front() -> None:
    cut = strip_padding({"audio": steps(0, 0, 7, 0, 8)}, aligned=False, lengths={"audio": 3})
    assert cut["audio"][:, 0].tolist() == [7, 0, 8]
    # a zero among the real steps does not make it look padded in front
    cut = strip_padding({"audio": steps(1, 2, 3)}, aligned=False, lengths={"audio": 2})
    assert cut["audio"][:, 0].tolist() == [1, 2]


def test_aligned_given_lengths_keep_the_longest() -> None:
    cut = strip_padding(
        {"visual": steps(1, 0, 0, 0), "text": steps(1, 2, 0, 0)},
        aligned=True,
        lengths={"visual": 1, "text": 3},
    )
    assert {m: len(s) for m, s in cut.items()} == {"visual": 3, "text": 3}


real = st.floats(-5, 5, width=32).filter(lambda x: x != 0)


@given(
    arrays(np.float32, st.tuples(st.integers(1, 7), st.just(3)), elements=real),
    st.integers(0, 5),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_strip_undoes_padding(values: np.ndarray, before: int, after: int) -> None:
    padded = np.pad(values, ((before, after), (0, 0)))
    other = np.zeros((len(padded), 2), np.float32)
    other[before + len(values) - 1] = 1
    alone = strip_padding({"audio": padded}, aligned=False)
    np.testing.assert_array_equal(alone["audio"], values)
    both = strip_padding({"audio": padded, "text": other}, aligned=True)
    np.testing.assert_array_equal(both["audio"], values)
    assert len(both["text"]) == len(values)


@given(arrays(np.float32, (7, 2), elements=st.sampled_from([0.0, 1.0, np.nan])))
@settings(max_examples=60, deadline=None)
def test_stripping_twice_changes_nothing_and_loses_no_real_step(values: np.ndarray) -> None:
    cut = strip_padding({"audio": values}, aligned=False)
    again = strip_padding(cut, aligned=False)
    assert list(cut) == list(again)
    kept = cut.get("audio", values[:0])
    np.testing.assert_array_equal(kept, again.get("audio", values[:0]))
    assert nonzero_steps(kept).sum() == nonzero_steps(values).sum()
