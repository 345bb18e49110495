"""The rows of BR, LP and CC in the table of systems."""

from emotailor.models.classic.config import (
    RECIPES,
    BinaryRelevanceConfig,
    ClassifierChainConfig,
    LabelPowersetConfig,
)
from emotailor.models.system import Settings, System

C: list[Settings] = [{"C": value} for value in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)]
"""A grid, tried in order."""

BR = System(
    name="br",
    title="BR",
    paper="Boutell, Luo, Shen and Brown. Learning Multi-Label Scene Classification. "
    "Pattern Recognition 2004.",
    config=BinaryRelevanceConfig,
    model="emotailor.models.classic.model:BinaryRelevance",
    recipes=RECIPES,
    published={"aligned": (0.222, 0.309, 0.515, 0.386), "unaligned": (0.233, 0.321, 0.545, 0.404)},
    search=[C],
    tiny={},
)


LP = System(
    name="lp",
    title="LP",
    paper="Tsoumakas and Katakis. Multi-Label Classification: An Overview. IJDWM 2007.",
    config=LabelPowersetConfig,
    model="emotailor.models.classic.model:LabelPowerset",
    recipes=RECIPES,
    published={"aligned": (0.159, 0.231, 0.377, 0.286), "unaligned": (0.185, 0.252, 0.427, 0.317)},
    search=[C],
    tiny={},
)


CC = System(
    name="cc",
    title="CC",
    paper="Read, Pfahringer, Holmes and Frank. Classifier Chains for Multi-Label "
    "Classification. Machine Learning 2011.",
    config=ClassifierChainConfig,
    model="emotailor.models.classic.model:ClassifierChain",
    recipes=RECIPES,
    published={"aligned": (0.225, 0.306, 0.523, 0.386), "unaligned": (0.235, 0.32, 0.55, 0.404)},
    search=[C],
    tiny={},
)
