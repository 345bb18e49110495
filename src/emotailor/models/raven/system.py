"""The row of RAVEN in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.raven.config import RECIPES, RAVENConfig
from emotailor.models.system import System

SYSTEM = System(
    name="raven",
    title="RAVEN",
    paper="Wang, Shen, Liu, Liang, Zadeh and Morency. Words Can Shift: Dynamically Adjusting "
    "Word Representations Using Nonverbal Behaviors. AAAI 2019.",
    config=RAVENConfig,
    model="emotailor.models.raven.model:RAVEN",
    recipes=RECIPES,
    required=("text",),
    at_least=2,
    published={"aligned": (0.416, 0.588, 0.461, 0.517), "unaligned": (0.403, 0.633, 0.429, 0.511)},
    search=[
        [{"cell_size": 32, "hidden_size": 64}, {"cell_size": 64, "hidden_size": 128}],
        [{"dropout": 0.2}, {"dropout": 0.5}],
        [{"shift_weight": 0.2}, {"shift_weight": 1.0}],
    ],
    tiny={"cell_size": 7, "hidden_size": 13},
)
