"""The encoder that adapters change, kept outside of every model."""

import copy

import torch
from torch import Tensor

from emotailor.encoders.base import TextEncoder
from emotailor.encoders.bert import Bert
from emotailor.encoders.contextual import ContextualEncoder
from emotailor.errors import ModelError


class BaseEncoder:
    """An encoder whose own parameters are part of no model: neither trained, stored nor copied.

    Args:
        encoder: the encoder.

    Attributes:
        extraction: its fingerprint.
        tokenizer: cuts words into pieces.
        most: pieces and marks that it takes at once.
        width: d.
        inner: width of its feed-forward parts.
        layers: number of its layers.

    Raises:
        ModelError: it is no BERT with one vector per word, which alone can have adapters.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        expected = "one vector per word of a BERT, such as those of minilm"
        name = encoder.extraction.extractor
        if encoder.pooling != "words":
            raise ModelError(f"{name} with the pooling {encoder.pooling}", expected=expected)
        if not isinstance(encoder, ContextualEncoder) or not isinstance(encoder.network, Bert):
            raise ModelError(
                f"{name} cannot be trained along",
                expected=expected,
                fix="train with --set adapters.rank=0, or encode the texts with minilm",
            )

        network = encoder.network
        self.extraction = encoder.extraction
        self.tokenizer = encoder.tokenizer
        self.most = encoder.most
        self.width = encoder.dim
        self.inner = network.config.intermediate_size
        self.layers = network.config.num_hidden_layers
        self._networks = {(torch.device("cpu"), torch.float32): network}

    @property
    def parameters(self) -> int:
        """The number of parameters that every piece meets; those of embeddings are looked up."""
        network = next(iter(self._networks.values()))
        return sum(parameter.numel() for parameter in network.layers.parameters())

    def __deepcopy__(self, memo: object) -> "BaseEncoder":
        return self

    def network_like(self, parameter: Tensor) -> Bert:
        """Return the network on the device and with the precision of a parameter."""
        key = (parameter.device, parameter.dtype)
        if key not in self._networks:
            stored = next(iter(self._networks.values()))
            # a copy made inside of inference mode could not be used in training
            with torch.inference_mode(False):
                self._networks[key] = copy.deepcopy(stored).to(*key)
        return self._networks[key]
