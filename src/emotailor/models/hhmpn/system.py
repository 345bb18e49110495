"""The row of HHMPN in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.hhmpn.config import RECIPES, HHMPNConfig
from emotailor.models.system import Settings, System


def _sizes(width: int, layers: int) -> Settings:
    return {
        "hidden_size": width,
        "feedforward_size": width,
        "encoder_layers": layers,
        "memory_layers": layers,
        "decoder_layers": 2,
        "decoder_heads": 4,
    }


SYSTEM = System(
    name="hhmpn",
    title="HHMPN",
    paper="Zhang, Ju, Zhang, Li, Li, Zhu and Zhou. Multi-Modal Multi-Label Emotion Recognition "
    "with Heterogeneous Hierarchical Message Passing. AAAI 2021.",
    config=HHMPNConfig,
    model="emotailor.models.hhmpn.model:HHMPN",
    recipes=RECIPES,
    at_least=2,
    rule="f",  # the best epoch on validation, of each metric
    published={"aligned": (0.459, 0.602, 0.496, 0.556), "unaligned": (0.434, 0.591, 0.476, 0.528)},
    search=[
        [_sizes(32, 1), _sizes(64, 1), _sizes(64, 2)],
        [{"embedding_dropout": 0.25}, {"embedding_dropout": 0.5}],
        [{"dropout": 0.2}, {"dropout": 0.4}],
    ],
    tiny={
        "hidden_size": 14,
        "encoder_heads": 2,
        "encoder_layers": 1,
        "memory_layers": 1,
        "decoder_layers": 2,
        "decoder_heads": 7,
        "feedforward_size": 17,
        "score_size": 5,
    },
)
