"""The row of DFG in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.dfg.config import RECIPES, DFGConfig
from emotailor.models.system import System

SYSTEM = System(
    name="dfg",
    title="DFG",
    paper="Zadeh, Liang, Poria, Cambria and Morency. Multimodal Language Analysis in the "
    "Wild: CMU-MOSEI Dataset and Interpretable Dynamic Fusion Graph. ACL 2018.",
    config=DFGConfig,
    model="emotailor.models.dfg.model:DFG",
    recipes=RECIPES,
    at_least=2,
    published={"aligned": (0.396, 0.595, 0.457, 0.517), "unaligned": (0.386, 0.534, 0.456, 0.494)},
    search=[
        [
            {"text_size": 32, "audio_size": 16, "visual_size": 32, "memory_size": 64},
            {"text_size": 64, "audio_size": 16, "visual_size": 64, "memory_size": 128},
        ],
        [{"vertex_size": 32, "vertex_hidden": 32}, {"vertex_size": 64, "vertex_hidden": 64}],
        [{"classifier_dropout": 0.3}, {"classifier_dropout": 0.7}],
    ],
    tiny={
        "text_size": 7,
        "audio_size": 5,
        "visual_size": 3,
        "vertex_size": 13,
        "vertex_hidden": 11,
        "memory_size": 17,
        "candidate_hidden": 19,
        "retain_hidden": 14,
        "update_hidden": 15,
        "classifier_hidden": 23,
    },
)
