"""The table of all systems; nothing heavy is imported until one is built."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from emotailor.config import Config
from emotailor.configs import (
    carat,
    classic,
    dfg,
    hhmpn,
    lsan,
    misa,
    ml_gcn,
    mult,
    raven,
    sgm,
    simm,
    tailor,
)
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ConfigError

Preset = Literal["paper", "authors"]
Recipes = Mapping[Preset, Mapping[str, Any]]


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        name: as given on the command line.
        title: as in the paper's Table 2.
        paper: citation.
        config: its settings; ``paper()`` and ``authors()`` are its presets.
        model: ``module:class`` of the model.
        recipes: preset -> training settings in which it departs from the defaults.
        modalities: what it can take, and takes by default.
        required: those it cannot do without.
        at_least: how many it needs.
        unaligned: preset -> training settings that unaligned data change further.
        reads_unaligned: takes unaligned sequences itself by the protocol of the paper's Table 2,
            where the others have a CTC alignment module before them.
    """

    name: str
    title: str
    paper: str
    config: type[Config]
    model: str
    recipes: Recipes = field(default_factory=dict)
    modalities: tuple[Modality, ...] = MODALITIES
    required: tuple[Modality, ...] = ()
    at_least: int = 1
    unaligned: Recipes = field(default_factory=dict)
    reads_unaligned: bool = False

    def choose(
        self, there: Mapping[Modality, int], wanted: tuple[Modality, ...] | None
    ) -> dict[Modality, int]:
        """Return the modalities to use, with their widths, in the order v, a, t.

        Args:
            there: modality -> feature width, of a data set.
            wanted: by the user; None for all that data set and system share.

        Raises:
            ConfigError: they are not there, or the system cannot work with them.
        """
        chosen = wanted or tuple(m for m in self.modalities if m in there)
        absent = [m for m in chosen if m not in there]
        if absent:
            raise ConfigError(
                f"the data set has no {', '.join(absent)}",
                expected=f"some of its modalities: {', '.join(there)}",
                fix="choose others with --modalities",
            )
        refused = [m for m in chosen if m not in self.modalities]
        missing = [m for m in self.required if m not in chosen]
        if refused or missing or len(chosen) < self.at_least:
            found = ", ".join(chosen) or "none of them"
            need = f"at least {self.at_least} of {', '.join(self.modalities)}"
            if self.required:
                need += f", with {', '.join(self.required)}"
            raise ConfigError(
                f"{self.title} is to take {found} (the data set has {', '.join(there)})",
                expected=need,
                fix="choose other --modalities, data that have them, or another system",
            )
        return {m: there[m] for m in MODALITIES if m in chosen}


_ROWS = (
    System(
        name="br",
        title="BR",
        paper="Boutell, Luo, Shen and Brown. Learning Multi-Label Scene Classification. "
        "Pattern Recognition 2004.",
        config=classic.BinaryRelevanceConfig,
        model="emotailor.models.classic:BinaryRelevance",
        recipes=classic.RECIPES,
    ),
    System(
        name="lp",
        title="LP",
        paper="Tsoumakas and Katakis. Multi-Label Classification: An Overview. IJDWM 2007.",
        config=classic.LabelPowersetConfig,
        model="emotailor.models.classic:LabelPowerset",
        recipes=classic.RECIPES,
    ),
    System(
        name="cc",
        title="CC",
        paper="Read, Pfahringer, Holmes and Frank. Classifier Chains for Multi-Label "
        "Classification. Machine Learning 2011.",
        config=classic.ClassifierChainConfig,
        model="emotailor.models.classic:ClassifierChain",
        recipes=classic.RECIPES,
    ),
    System(
        name="sgm",
        title="SGM",
        paper="Yang, Sun, Li, Ma, Wu and Wang. SGM: Sequence Generation Model for Multi-Label "
        "Classification. COLING 2018.",
        config=sgm.SGMConfig,
        model="emotailor.models.sgm:SGM",
        recipes=sgm.RECIPES,
        modalities=("text",),
        required=("text",),
    ),
    System(
        name="lsan",
        title="LSAN",
        paper="Xiao, Huang, Chen and Jing. Label-Specific Document Representation for Multi-Label "
        "Text Classification. EMNLP 2019.",
        config=lsan.LSANConfig,
        model="emotailor.models.lsan:LSAN",
        recipes=lsan.RECIPES,
        modalities=("text",),
        required=("text",),
    ),
    System(
        name="ml_gcn",
        title="ML-GCN",
        paper="Chen, Wei, Wang and Guo. Multi-Label Image Recognition with Graph Convolutional "
        "Networks. CVPR 2019.",
        config=ml_gcn.MLGCNConfig,
        model="emotailor.models.ml_gcn:MLGCN",
        recipes=ml_gcn.RECIPES,
        modalities=("visual",),
        required=("visual",),
    ),
    System(
        name="dfg",
        title="DFG",
        paper="Zadeh, Liang, Poria, Cambria and Morency. Multimodal Language Analysis in the "
        "Wild: CMU-MOSEI Dataset and Interpretable Dynamic Fusion Graph. ACL 2018.",
        config=dfg.DFGConfig,
        model="emotailor.models.dfg:DFG",
        recipes=dfg.RECIPES,
        at_least=2,
    ),
    System(
        name="raven",
        title="RAVEN",
        paper="Wang, Shen, Liu, Liang, Zadeh and Morency. Words Can Shift: Dynamically Adjusting "
        "Word Representations Using Nonverbal Behaviors. AAAI 2019.",
        config=raven.RAVENConfig,
        model="emotailor.models.raven:RAVEN",
        recipes=raven.RECIPES,
        required=("text",),
        at_least=2,
    ),
    System(
        name="mult",
        title="MulT",
        paper="Tsai, Bai, Liang, Kolter, Morency and Salakhutdinov. Multimodal Transformer for "
        "Unaligned Multimodal Language Sequences. ACL 2019.",
        config=mult.MulTConfig,
        model="emotailor.models.mult:MulT",
        recipes=mult.RECIPES,
        at_least=2,
        reads_unaligned=True,
    ),
    System(
        name="simm",
        title="SIMM",
        paper="Wu, Chen, Hu, Wang, Xie, Tu and Zhang. Multi-View Multi-Label Learning with "
        "View-Specific Information Extraction. IJCAI 2019.",
        config=simm.SIMMConfig,
        model="emotailor.models.simm:SIMM",
        recipes=simm.RECIPES,
        at_least=2,
    ),
    System(
        name="misa",
        title="MISA",
        paper="Hazarika, Zimmermann and Poria. MISA: Modality-Invariant and -Specific "
        "Representations for Multimodal Sentiment Analysis. ACM MM 2020.",
        config=misa.MISAConfig,
        model="emotailor.models.misa:MISA",
        recipes=misa.RECIPES,
        at_least=2,
    ),
    System(
        name="hhmpn",
        title="HHMPN",
        paper="Zhang, Ju, Zhang, Li, Li, Zhu and Zhou. Multi-Modal Multi-Label Emotion Recognition "
        "with Heterogeneous Hierarchical Message Passing. AAAI 2021.",
        config=hhmpn.HHMPNConfig,
        model="emotailor.models.hhmpn:HHMPN",
        recipes=hhmpn.RECIPES,
        at_least=2,
    ),
    System(
        name="carat",
        title="CARAT",
        paper="Peng, Chen, Shou and Chen. CARAT: Contrastive Feature Reconstruction and "
        "Aggregation for Multi-Modal Multi-Label Emotion Recognition. AAAI 2024.",
        config=carat.CARATConfig,
        model="emotailor.models.carat:CARAT",
        recipes=carat.RECIPES,
        at_least=2,
    ),
    System(
        name="tailor",
        title="TAILOR",
        paper="Zhang, Chen, Shen and Wang. Tailor Versatile Multi-Modal Learning for Multi-Label "
        "Emotion Recognition. AAAI 2022.",
        config=tailor.TailorConfig,
        model="emotailor.models.tailor:Tailor",
        recipes=tailor.RECIPES,
        # the paper's rate, and the default of the program's training script
        unaligned={"paper": {"learning_rate": 1e-4}, "authors": {"learning_rate": 1e-4}},
    ),
)

SYSTEMS: Mapping[str, System] = {row.name: row for row in _ROWS}


def find_system(name: str) -> System:
    """Return the system of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SYSTEMS:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), SYSTEMS, n=1)
        raise ConfigError(
            f"unknown model {name!r}",
            expected=f"one of {', '.join(SYSTEMS)}",
            fix=f"did you mean {close[0]}?" if close else None,
        )
    return SYSTEMS[name]


def available_models() -> tuple[str, ...]:
    """Return the names of all systems."""
    return tuple(SYSTEMS)
