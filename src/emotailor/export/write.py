"""From a trained model to an ONNX file: recorded, checked, and only then given its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotailor.data.sample import Modality, Sample
from emotailor.encoders.packages import need
from emotailor.errors import ConfigError, ModelError, TooLongError
from emotailor.export.check import Checked, check_graph
from emotailor.export.onnx_file import MAX_BYTES, SUFFIX, Described, finish, is_onnx
from emotailor.export.onnx_model import INSTALL as RUNTIME
from emotailor.export.onnx_model import start_session
from emotailor.export.record import FOR_WHAT, attention_blocks, check_recordable, record
from emotailor.files import replacing_file
from emotailor.models.base import EmotionModel
from emotailor.training.model_folder import LoadedModel

ENDLESS = 10**9
"""More steps than any sequence has."""


@dataclass(frozen=True)
class Written:
    """An ONNX file that was written.

    Attributes:
        path: the file.
        size: number of its bytes.
        checked: what was compared; of an 8-bit file, the graph before it was rounded.
    """

    path: Path
    size: int
    checked: Checked


def write_onnx(
    loaded: LoadedModel, path: Path, samples: Sequence[Sample] = (), *, int8: bool = False
) -> Written:
    """Write a model as an ONNX file, after it was checked against torch.

    Args:
        loaded: a model in evaluation mode, on a CPU.
        path: of the file; one that is there is replaced.
        samples: real ones to check the graph on, beside random ones.
        int8: round the weights to 8 bits, which makes a smaller and faster file whose numbers
            differ.

    Raises:
        ModelError: the model cannot be recorded, or the graph computes something else.
        ConfigError: a package is not installed, or the file is called otherwise than ``.onnx``.
        OSError: the file cannot be written.
    """
    check_name(path)
    check_recordable(loaded)
    need("onnxruntime", FOR_WHAT, RUNTIME)
    described = describe(loaded)
    graph = record(loaded, described.attention)
    session = start_session(graph)
    checked = check_graph(session, loaded, described.most_steps, described.attention, samples)
    if int8:
        from emotailor.export.int8 import rounded

        graph = rounded(graph)
        described = described.model_copy(update={"int8": True})

    content = finish(graph, described)
    if len(content) > MAX_BYTES:
        raise ModelError(
            f"the graph of {loaded.card.system} has {len(content):,} bytes",
            expected=f"at most {MAX_BYTES:,}: an ONNX file can hold no more",
        )
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)
    return Written(path, len(content), checked)


def check_name(path: Path) -> None:
    """Require the ending by which a model in one file is known.

    Raises:
        ConfigError: the name has another one.
    """
    if not is_onnx(path):
        raise ConfigError(
            f"{path} is to be an ONNX file",
            expected=f"a name that ends in {SUFFIX}",
            fix=f"write it to {path.with_suffix(SUFFIX)}",
        )


def describe(loaded: LoadedModel) -> Described:
    """Return what there is to say of a model in a file."""
    return Described(
        card=loaded.card,
        most_steps=most_steps_of(loaded.model),
        takes_unaligned=loaded.model.takes_unaligned,
        attention=attention_blocks(loaded),
    )


def most_steps_of(model: EmotionModel) -> dict[Modality, int | None]:
    """Return the longest sequence of each modality that a model can take; None for any."""
    found: dict[Modality, int | None] = {}
    for m in model.dims:
        try:
            model.check_lengths({m: ENDLESS}, aligned=True)
            found[m] = None
        except TooLongError as error:
            found[m] = error.most
    return found
