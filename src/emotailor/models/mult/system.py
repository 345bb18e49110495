"""The row of MulT in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.mult.config import RECIPES, MulTConfig
from emotailor.models.system import System

SYSTEM = System(
    name="mult",
    title="MulT",
    paper="Tsai, Bai, Liang, Kolter, Morency and Salakhutdinov. Multimodal Transformer for "
    "Unaligned Multimodal Language Sequences. ACL 2019.",
    config=MulTConfig,
    model="emotailor.models.mult.model:MulT",
    recipes=RECIPES,
    at_least=2,
    reads_unaligned=True,
    published={"aligned": (0.445, 0.619, 0.465, 0.531), "unaligned": (0.423, 0.636, 0.445, 0.523)},
    search=[
        [{"hidden_size": 32, "heads": 4}, {"hidden_size": 40, "heads": 8}],
        [{"layers": 1, "memory_layers": 1}, {"layers": 2, "memory_layers": 2}],
        [{"embedding_dropout": 0.3}, {"embedding_dropout": 0.6}],
    ],
    tiny={"hidden_size": 12, "heads": 3, "layers": 1, "memory_layers": 2, "text_kernel": 5},
)
