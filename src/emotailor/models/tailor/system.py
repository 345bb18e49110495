"""The row of TAILOR in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.system import System, transformer_sizes
from emotailor.models.tailor.ablations import ABLATIONS
from emotailor.models.tailor.config import RECIPES, TailorConfig

SYSTEM = System(
    name="tailor",
    title="TAILOR",
    paper="Zhang, Chen, Shen and Wang. Tailor Versatile Multi-Modal Learning for Multi-Label "
    "Emotion Recognition. AAAI 2022.",
    config=TailorConfig,
    model="emotailor.models.tailor.model:Tailor",
    recipes=RECIPES,
    # the paper's rate, and the default of the program's training script
    unaligned={"paper": {"learning_rate": 1e-4}, "authors": {"learning_rate": 1e-4}},
    published={"aligned": (0.488, 0.641, 0.512, 0.569), "unaligned": (0.46, 0.639, 0.452, 0.529)},
    search=[
        [transformer_sizes(64, 1), transformer_sizes(128, 1), transformer_sizes(128, 2)],
        [{"input_dropout": 0.2}, {"input_dropout": 0.6}],
        [{"dropout": 0.1, "cross_layers": 1}, {"dropout": 0.3, "cross_layers": 2}],
    ],
    tiny={
        "hidden_size": 12,
        "feedforward_size": 17,
        "heads": 3,
        "visual_layers": 1,
        "audio_layers": 2,
        "text_layers": 1,
        "cross_layers": 1,
        "max_steps": 13,
        "dropout": 0.1,
        "initial_std": 0.2,
    },
    variants=ABLATIONS,
)
