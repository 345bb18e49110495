"""The row of SIMM in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.simm.config import RECIPES, SIMMConfig
from emotailor.models.system import System

SYSTEM = System(
    name="simm",
    title="SIMM",
    paper="Wu, Chen, Hu, Wang, Xie, Tu and Zhang. Multi-View Multi-Label Learning with "
    "View-Specific Information Extraction. IJCAI 2019.",
    config=SIMMConfig,
    model="emotailor.models.simm.model:SIMM",
    recipes=RECIPES,
    at_least=2,
    published={"aligned": (0.432, 0.561, 0.495, 0.525), "unaligned": (0.418, 0.482, 0.486, 0.484)},
    search=[
        [{"hidden_size": 64}, {"hidden_size": 128}],
        [{"adversarial_weight": 0.1}, {"adversarial_weight": 0.5}],
        [{"orthogonality_weight": 0.01}, {"orthogonality_weight": 0.1}],
    ],
    tiny={"hidden_size": 13},
)
