"""The row of LDDU in the table of systems: paper, recipes, sizes to try."""

from emotailor.models.lddu.config import RECIPES, LDDUConfig
from emotailor.models.system import System, transformer_sizes

SYSTEM = System(
    name="lddu",
    title="LDDU",
    paper="Huang, Zhong, Lei, Gao, Yang, Wang, Li and Wei. Latent Distribution Decouple for "
    "Uncertain-Aware Multimodal Multi-label Emotion Recognition. Findings of ACL 2025.",
    config=LDDUConfig,
    model="emotailor.models.lddu.model:LDDU",
    recipes=RECIPES,
    rule="d",  # that of the authors' published log
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
        "attention_size": 7,
        "latent_size": 5,
        "queue_size": 53,
        "dropout": 0.1,
        "initial_std": 0.2,
    },
)
