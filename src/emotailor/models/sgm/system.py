"""The row of SGM in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.sgm.config import RECIPES, SGMConfig
from emotailor.models.system import System

SYSTEM = System(
    name="sgm",
    title="SGM",
    paper="Yang, Sun, Li, Ma, Wu and Wang. SGM: Sequence Generation Model for Multi-Label "
    "Classification. COLING 2018.",
    config=SGMConfig,
    model="emotailor.models.sgm.model:SGM",
    recipes=RECIPES,
    modalities=("text",),
    required=("text",),
    published={"aligned": (0.455, 0.595, 0.467, 0.523), "unaligned": (0.449, 0.584, 0.476, 0.524)},
    search=[
        [{"label_size": 32, "encoder_size": 32}, {"label_size": 64, "encoder_size": 64}],
        [{"dropout": 0.2, "attention_dropout": 0.2}, {"dropout": 0.5, "attention_dropout": 0.5}],
        [{"encoder_layers": 1, "decoder_layers": 1}, {"encoder_layers": 2, "decoder_layers": 2}],
    ],
    tiny={"label_size": 5, "encoder_size": 7, "dropout": 0.1, "attention_dropout": 0.1},
)
