"""The row of ML-GCN in the table of systems: paper, recipes, published numbers, sizes to try."""

from emotailor.models.ml_gcn.config import RECIPES, MLGCNConfig
from emotailor.models.system import System

SYSTEM = System(
    name="ml_gcn",
    title="ML-GCN",
    paper="Chen, Wei, Wang and Guo. Multi-Label Image Recognition with Graph Convolutional "
    "Networks. CVPR 2019.",
    config=MLGCNConfig,
    model="emotailor.models.ml_gcn.model:MLGCN",
    recipes=RECIPES,
    modalities=("visual",),
    required=("visual",),
    published={"aligned": (0.411, 0.546, 0.476, 0.509), "unaligned": (0.437, 0.573, 0.482, 0.524)},
    search=[
        [{"feature_size": 64, "graph_size": 64}, {"feature_size": 128, "graph_size": 128}],
        [{"label_size": 32}, {"label_size": 64}],
        [{"threshold": 0.4}, {"threshold": "auto"}],
    ],
    tiny={"feature_size": 14, "graph_size": 13, "label_size": 17},
)
