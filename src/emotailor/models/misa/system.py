"""The row of MISA in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.misa.config import RECIPES, MISAConfig
from emotailor.models.system import System

SYSTEM = System(
    name="misa",
    title="MISA",
    paper="Hazarika, Zimmermann and Poria. MISA: Modality-Invariant and -Specific "
    "Representations for Multimodal Sentiment Analysis. ACM MM 2020.",
    config=MISAConfig,
    model="emotailor.models.misa.model:MISA",
    recipes=RECIPES,
    at_least=2,
    published={"aligned": (0.43, 0.453, 0.582, 0.509), "unaligned": (0.398, 0.371, 0.571, 0.45)},
    search=[
        [
            {"hidden_size": 64, "feedforward_size": 128},
            {"hidden_size": 128, "feedforward_size": 256},
        ],
        [{"dropout": 0.2}, {"dropout": 0.5}],
        [{"similarity_weight": 0.3}, {"similarity_weight": 1.0}],
    ],
    tiny={"hidden_size": 14, "heads": 2, "feedforward_size": 17},
)
