"""From recordings to samples: means by word, rows by utterance, words and times."""

from dataclasses import replace

import numpy as np

from emotailor.data.sample import TRANSCRIPT
from emotailor.extraction.base import Utterance
from emotailor.extraction.samples import Stretch, samples_of, stretches_of, words_between
from tests.extraction.recordings import recording


def test_aligned_samples_have_the_mean_of_the_rows_of_each_word() -> None:
    first, second = samples_of(recording(), stretches_of("a/clip", recording()), aligned=True)
    assert (first.id, second.id) == ("a/clip[0]", "a/clip[1]")
    assert first.words == ["so", "great!"]
    assert first.about[TRANSCRIPT] == "so great!"

    # "so" is before the face; "great!" is said from 1.5 to 2.0: rows 1 to 5 of the face
    np.testing.assert_array_equal(first.missing["visual"], [True, False])
    np.testing.assert_allclose(first.sequences["visual"], [[0, 0], [3, 4]])
    # rows 10 to 12 and 15 to 19 of the voice, which counts from 100 on
    np.testing.assert_allclose(first.sequences["audio"], [[111, 112, 113], [117, 118, 119]])
    for m in ("visual", "audio", "text"):
        np.testing.assert_array_equal(first.times[m], [[1.0, 1.3], [1.5, 2.0]])

    # nobody is seen while "bye" is said
    assert "visual" not in second.sequences
    np.testing.assert_allclose(second.sequences["audio"], [[142, 143, 144]])


def test_native_samples_have_the_rows_that_share_time_with_them() -> None:
    first, second = samples_of(recording(), stretches_of("clip", recording()), aligned=False)
    # from 0.9 to 2.1 seconds
    np.testing.assert_allclose(first.sequences["audio"][:, 0], np.arange(109, 121))
    np.testing.assert_allclose(first.sequences["visual"][:, 0], np.arange(6))
    np.testing.assert_allclose(first.times["visual"][0], [1.4, 1.5])
    assert set(second.sequences) == {"audio"}
    np.testing.assert_allclose(second.sequences["audio"][:, 0], np.arange(140, 145))


def test_an_utterance_without_words_has_steps_at_native_rates_alone() -> None:
    silent = replace(recording(), utterances=(Utterance((), 2.0, 3.0),))
    (aligned,) = samples_of(silent, stretches_of("clip", silent), aligned=True)
    assert not aligned.sequences
    assert aligned.words is None
    (native,) = samples_of(silent, stretches_of("clip", silent), aligned=False)
    np.testing.assert_allclose(native.sequences["audio"][:, 0], np.arange(120, 130))


def test_words_belong_where_their_middle_is() -> None:
    said = recording()
    assert [word.text for word in words_between(said, 0.0, 1.15)] == []
    assert [word.text for word in words_between(said, 1.15, 1.75)] == ["so"]
    assert [word.text for word in words_between(said, 1.75, 9.0)] == ["great!", "bye"]


def test_labels_are_those_of_the_stretch() -> None:
    labels = np.array([1, 0, 1], np.uint8)
    stretch = Stretch("clip[7]", recording().utterances[0], labels)
    (sample,) = samples_of(recording(), [stretch], aligned=True)
    assert sample.id == "clip[7]"
    np.testing.assert_array_equal(sample.labels, labels)
