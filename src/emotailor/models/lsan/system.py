"""The row of LSAN in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.lsan.config import RECIPES, LSANConfig
from emotailor.models.system import System

SYSTEM = System(
    name="lsan",
    title="LSAN",
    paper="Xiao, Huang, Chen and Jing. Label-Specific Document Representation for Multi-Label "
    "Text Classification. EMNLP 2019.",
    config=LSANConfig,
    model="emotailor.models.lsan.model:LSAN",
    recipes=RECIPES,
    modalities=("text",),
    required=("text",),
    published={"aligned": (0.393, 0.55, 0.459, 0.501), "unaligned": (0.403, 0.582, 0.46, 0.514)},
    search=[
        [{"state_size": 64, "attention_size": 50}, {"state_size": 128, "attention_size": 100}],
        [{"classifier_size": 64}, {"classifier_size": 128}],
        [{"dropout": 0.3}, {"dropout": 0.6}],
    ],
    tiny={"state_size": 7, "attention_size": 5, "classifier_size": 13, "dropout": 0.1},
)
