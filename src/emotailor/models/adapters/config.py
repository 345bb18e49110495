"""Settings of a text encoder that is trained together with a system."""

from pydantic import Field

from emotailor.config import Config


class AdapterConfig(Config):
    """Low-rank adapters (Hu et al., ICLR 2022) in the encoder whose features the text has."""

    # r, rank of what is added to each weight matrix; 0: the encoder stays as it is
    rank: int = Field(0, ge=0)
    layers: int | None = Field(None, ge=1)  # how many layers are adapted, the last ones; none: all
    # alpha / r, factor of what is added; with Adam it acts as a factor of the learning rate
    scale: float = Field(2.0, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)  # dropout of what enters an adapter
    # dropout of the encoder's own layers and attention weights, as in its training
    encoder_dropout: float = Field(0.1, ge=0, lt=1)
    # share of all updates in which the system alone is trained, on the stored vectors, before the
    # adapters are too: a system that knows nothing yet would lead the encoder astray
    # (Kumar et al., ICLR 2022)
    start: float = Field(0.5, ge=0, lt=1)
    # name of the encoder, or folder of a Hugging Face model; none: what the data set says
    encoder: str | None = Field(None, min_length=1)
