"""Arguments and options that several commands share."""

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emotailor.cli import completion

if TYPE_CHECKING:
    from emotailor.data.sample import Modality


class Preset(StrEnum):
    """Where settings come from that nobody gives."""

    tuned = "tuned"
    paper = "paper"
    authors = "authors"


class ThresholdChoice(StrEnum):
    """How a probability becomes a decision."""

    fixed = "fixed"
    tuned = "tuned"
    per_label = "per_label"
    macro = "macro"
    share = "share"


class Longer(StrEnum):
    """What becomes of a sample that is too long."""

    first_steps = "cut"
    parts = "split"


class Rule(StrEnum):
    """Whether the label threshold itself counts."""

    above = ">"
    at_least = ">="


DEVICES = "One of auto, cpu, gpu, cuda, cuda:1 and mps."

# ---------------------------------------------------------------------- data

DataPath = Annotated[
    Path,
    typer.Argument(
        help="A stored data set (a folder with dataset.json).",
        autocompletion=completion.data_sets,
    ),
]
NewDataPath = Annotated[
    Path, typer.Option("--out", "-o", help="The folder of the data set to create.")
]
LabelNames = Annotated[
    str | None, typer.Option(help="The names of the label columns, separated by commas.")
]
LabelThreshold = Annotated[
    float, typer.Option(help="A label holds where its value is above this number.")
]
LabelRule = Annotated[
    Rule, typer.Option(help="With >= a label also holds where its value equals the threshold.")
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="SHARES",
        help="For a source without splits: shares of train, valid and test, such as 70/10/20. "
        "All samples of a video are in one split.",
    ),
]
SplitSeed = Annotated[
    int, typer.Option(help="With --split: another number divides in another way.")
]
DataName = Annotated[
    str | None, typer.Option(help="The name of the data set. By default the source's name.")
]
MostSteps = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="The most steps of a sample: 60, or text=50,audio=400 for modalities with steps "
        "of their own.",
    ),
]
LongerSamples = Annotated[
    Longer,
    typer.Option(
        help="With --max-steps: cut longer samples to their first steps, or split them into "
        "parts of about equal length."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at the output path.")]
Data = Annotated[
    Path,
    typer.Option("--data", "-d", help="A stored data set.", autocompletion=completion.data_sets),
]
OtherData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        "-d",
        help="A stored data set. By default the one that the run was trained on.",
        autocompletion=completion.data_sets,
    ),
]
TestSplit = Annotated[
    str, typer.Option(help="The split to test on.", autocompletion=completion.splits)
]
Modalities = Annotated[
    str | None,
    typer.Option(
        help="The modalities to use, such as visual,text or v,t.",
        autocompletion=completion.modalities,
    ),
]

# ---------------------------------------------------------------------- systems and settings

OwnSystem = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODULE:CLASS",
        help="Your own system, if the model is one: package.module:Class or path/file.py:Class. "
        "Its code is loaded only because you name it here.",
    ),
]
PresetOption = Annotated[
    Preset,
    typer.Option(
        help="Where settings come from that you do not give: tuned to the size of the data, the "
        "papers, or the authors' programs.",
        case_sensitive=False,
    ),
]
RunFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="A TOML file with the tables model, training and data, or the config.json of a run.",
    ),
]
Systems = Annotated[
    str,
    typer.Option(
        help="Systems, separated by commas: names of `emotailor models`, and classes of your own "
        "as package.module:Class or path/file.py:Class.",
        autocompletion=completion.several_systems,
    ),
]
SystemsFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="A TOML file with one table per system, and one named all."
    ),
]
SystemsSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[SYSTEM:]KEY=VALUE",
        help="A setting for every system, such as training.epochs=5, or for one system, such as "
        "mult:model.heads=4. May be repeated.",
    ),
]
Device = Annotated[
    str,
    typer.Option(help=f"The device to compute on. {DEVICES}", autocompletion=completion.devices),
]
Runtime = Annotated[
    Literal["torch", "onnx"],
    typer.Option(
        help="What computes: PyTorch, or ONNX Runtime, for which a folder gets a file model.onnx "
        "once.",
    ),
]
OwnDevice = Annotated[
    str | None,
    typer.Option(help=f"The device to train on. {DEVICES}", autocompletion=completion.devices),
]

# the settings that people change most; all others are given with --set
Epochs = Annotated[int | None, typer.Option(metavar="N", help="Passes over the training split.")]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Samples in a batch.")]
LearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", "--lr", metavar="RATE", help="The peak of the learning rate."),
]
Patience = Annotated[
    int | None,
    typer.Option(metavar="N", help="Stop after so many epochs without a better one."),
]

KeepProtocols = Annotated[
    bool,
    typer.Option(
        "--protocols",
        help="Keep what every epoch predicts on the test split, for `evaluate --protocols` alone: "
        "what the rules of other programs would have reported. No choice sees it.",
    ),
]

# ---------------------------------------------------------------------- several runs

Tables = Annotated[Path, typer.Option("--out", "-o", help="The folder for all runs and tables.")]
Seeds = Annotated[
    int, typer.Option(min=1, metavar="N", help="The number of runs of each row of the table.")
]
FirstSeed = Annotated[
    int, typer.Option(help="The seed of the first run. The others count up from it.")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="The number of runs at a time. By default one per GPU, or else one per core.",
    ),
]
Track = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Tell a tracker of losses, scores, learning rate and speed: tensorboard, wandb, "
        "mlflow, or another that accelerate knows.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")]

# ---------------------------------------------------------------------- measuring

ModelPath = Annotated[
    Path,
    typer.Argument(help="A run folder or a model folder.", autocompletion=completion.runs),
]
Deciding = Annotated[
    ThresholdChoice,
    typer.Option(
        help="The thresholds for decisions. Tuned: on validation data.", case_sensitive=False
    ),
]
ChosenThresholds = Annotated[
    ThresholdChoice | None,
    typer.Option(
        help="The thresholds for decisions. By default one, tuned on validation data.",
        case_sensitive=False,
    ),
]
Resamples = Annotated[
    int, typer.Option(min=0, help="The number of resamples of the paired tests. 0: no tests.")
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="MODULE:FUNCTION",
        help="A metric of your own: package.module:function, path/file.py:function, or the name "
        "of an installed one. May be repeated.",
        autocompletion=completion.metrics,
    ),
]


def several(names: str | None) -> list[str] | None:
    """Split names that are separated by commas."""
    return names.split(",") if names is not None else None


def of_modalities(given: Sequence[str] | None, option: str, value: str) -> "dict[Modality, str]":
    """Return what was given for each modality, as in ``text=vectors.npz``.

    Args:
        given: what the user wrote.
        option: name of the option, for messages.
        value: what stands behind the sign, for messages.

    Raises:
        ConfigError: there is no modality or nothing behind it, or one has two.
    """
    from emotailor.data.sample import MODALITIES
    from emotailor.errors import ConfigError

    found: dict[Modality, str] = {}
    for pair in given or ():
        name, _, behind = pair.partition("=")
        of_name = [m for m in MODALITIES if m == name.strip()]
        if not of_name or not behind or of_name[0] in found:
            raise ConfigError(
                f"{option} {pair!r}",
                expected=f"MODALITY={value}, once for each of {', '.join(MODALITIES)}",
            )
        found[of_name[0]] = behind
    return found


def modality_names(names: str | None) -> list[str] | None:
    """Split names of modalities that are separated by commas, spaces or plus signs."""
    if names is None:
        return None
    return re.split(r"[,+\s]+", names.strip())


def training_settings(
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    patience: int | None,
    *,
    kept_split: str | None = None,
    start_from: Path | None = None,
) -> dict[str, int | float | str | None]:
    """Return the settings of the training that have options of their own; None is not given."""
    from emotailor.shipped.find import name_of

    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "protocols": kept_split,
        "start_from": None if start_from is None else name_of(start_from),
    }


def use_own(reference: str | None) -> None:
    """Load the system that the user names, so that its runs can be read."""
    if reference is not None:
        from emotailor.models.table import use_system

        use_system(reference)
