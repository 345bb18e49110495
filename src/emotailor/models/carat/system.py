"""The row of CARAT in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.carat.config import RECIPES, CARATConfig
from emotailor.models.system import System, transformer_sizes

SYSTEM = System(
    name="carat",
    title="CARAT",
    paper="Peng, Chen, Shou and Chen. CARAT: Contrastive Feature Reconstruction and "
    "Aggregation for Multi-Modal Multi-Label Emotion Recognition. AAAI 2024.",
    config=CARATConfig,
    model="emotailor.models.carat.model:CARAT",
    recipes=RECIPES,
    at_least=2,
    rule="f",  # the best epoch on validation, a fixed threshold
    search=[
        [transformer_sizes(64, 1), transformer_sizes(128, 1), transformer_sizes(128, 2)],
        [{"input_dropout": 0.2}, {"input_dropout": 0.6}],
        [{"contrastive_weight": 0.1, "queue_size": 2048}, {"queue_size": 2048}],
    ],
    tiny={
        "hidden_size": 12,
        "feedforward_size": 17,
        "heads": 3,
        "visual_layers": 1,
        "audio_layers": 2,
        "text_layers": 1,
        "max_steps": 13,
        "latent_size": 5,
        "queue_size": 53,
        "dropout": 0.1,
        "initial_std": 0.2,
    },
)
