"""Work in a thread of its own, and a video whose words are found beside its faces."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.errors import ConfigError, DataError
from emotailor.extraction.base import Recording, Sound
from emotailor.extraction.beside import Beside
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.decoding import decode
from emotailor.extraction.recording import Extractor
from emotailor.extraction.workers import Tell
from tests.extraction.sounds import CLIP, need_video

_SECONDS = 6.0


# ---------------------------------------------------------------------- a thread


def test_the_result_and_how_far_the_work_is() -> None:
    told: list[float] = []
    looked_at = threading.Event()

    def work(tell: Tell) -> int:
        tell(0.5)
        looked_at.wait()
        return threading.get_ident()

    with Beside(work) as beside:

        def on_share(share: float) -> None:
            told.append(share)
            looked_at.set()

        thread = beside.result(on_share)
    assert thread != threading.get_ident()
    assert told[-1] == 0.5


def test_an_error_is_raised_where_somebody_waits() -> None:
    def work(tell: Tell) -> None:
        raise DataError("a damaged word")

    with Beside(work) as beside:
        with pytest.raises(DataError, match="a damaged word"):
            beside.result()
        with pytest.raises(DataError, match="a damaged word"):
            beside.check()


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError("a damaged picture")])
def test_no_thread_outlives_its_block(error: Any) -> None:
    begun = threading.Event()

    def work(tell: Tell) -> None:
        while True:
            tell(0.1)
            begun.set()

    before = threading.active_count()
    with pytest.raises((KeyboardInterrupt, DataError)) as caught, Beside(work):
        begun.wait()
        raise error
    assert caught.type in (error, type(error))
    assert threading.active_count() == before


# ---------------------------------------------------------------------- a video


@pytest.fixture(scope="module")
def clip(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first seconds of a clip, packet by packet."""
    need_video()
    import av

    short = tmp_path_factory.mktemp("clip") / "short.mp4"
    with av.open(str(shared_data / CLIP)) as whole, av.open(str(short), "w") as part:
        tracks = {one: part.add_stream_from_template(one) for one in whole.streams}
        for packet in whole.demux():
            if packet.dts is None or packet.dts * packet.time_base > _SECONDS:
                continue
            packet.stream = tracks[packet.stream]
            part.mux(packet)
    return short


@pytest.fixture
def face_model(shared_data: Path) -> Path:
    pytest.importorskip("mediapipe", reason="needs the extra video")
    model = shared_data.parent / "models" / "face_landmarker.task"
    if not model.is_file():
        pytest.skip("needs the face landmarker")
    return model


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert "emotailor-beside" not in names


def config(**settings: Any) -> ExtractionConfig:
    values = {"picture": {"per_second": 2.0}, **settings}
    return ExtractionConfig.model_validate(values)


def assert_same(first: Recording, second: Recording) -> None:
    assert first.utterances == second.utterances
    assert first.notes == second.notes
    assert first.duration == second.duration
    pairs = [(first.face, second.face), (first.voice, second.voice)]
    for one, other in pairs:
        assert one is not None
        assert other is not None
        assert len(one.values) > 0
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.intervals, other.intervals)


@pytest.mark.usefixtures("no_thread_left")
def test_the_same_whether_words_are_found_beside_faces_or_after_them(
    clip: Path, face_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    threads = torch.get_num_threads()
    after = Extractor(config(), face_model, threads=1).extract(clip)
    assert set(after.seconds) == {"decoding and face", "voice", "sound", "words"}

    two_cores = Extractor(config(), face_model, threads=2)
    told: list[float] = []
    beside = two_cores.extract(clip, tell=told.append)
    assert set(beside.seconds) == {"everything at once"}
    assert [word.text for word in beside.utterances[0].words][:3] == ["My", "name", "is"]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert torch.get_num_threads() == threads
    assert_same(beside, after)

    # a sound that is another one by itself is not believed
    def other_sound(*args: Any, **kwargs: Any) -> Any:
        found = decode(*args, **kwargs)
        if kwargs.get("on_picture") is None:
            object.__setattr__(found, "sound", Sound(np.zeros(16_000, np.int16)))
        return found

    monkeypatch.setattr("emotailor.extraction.recording.decode", other_sound)
    assert_same(two_cores.extract(clip), after)


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_unknown_language_is_one_message(clip: Path, face_model: Path, threads: int) -> None:
    french = config(speech={"language": "fr"})
    with pytest.raises(ConfigError, match="does not know the language 'fr'"):
        Extractor(french, face_model, threads=threads).extract(clip)


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError("a damaged picture")])
def test_an_end_among_the_pictures_ends_the_listening(
    clip: Path, face_model: Path, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: Any) -> None:
        raise error

    monkeypatch.setattr("emotailor.extraction.face.FaceFollower.look", look)
    with pytest.raises((KeyboardInterrupt, DataError)) as caught:
        Extractor(config(), face_model, threads=2).extract(clip)
    assert caught.type in (error, type(error))


@pytest.mark.usefixtures("no_thread_left")
def test_a_sound_that_cannot_be_decoded_alone(
    clip: Path, face_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sound(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("on_picture") is None:
            raise DataError("all of the sound is damaged")
        return decode(*args, **{**kwargs, "with_sound": False})

    monkeypatch.setattr("emotailor.extraction.recording.decode", no_sound)
    found = Extractor(config(), face_model, threads=2).extract(clip)
    assert found.face is not None
    assert found.voice is None
    assert found.notes[-2:] == ("there is no sound", "nobody says anything")
