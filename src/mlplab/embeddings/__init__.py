"""Embeddings of the inputs of a network, by the name that users choose in the configuration."""

from mlplab.embeddings.base import Embedding, NoEmbedding
from mlplab.embeddings.periodic import Pbld, Periodic, Plr
from mlplab.embeddings.piecewise import PiecewiseLinear

EMBEDDINGS: dict[str, type[Embedding]] = {
    "none": NoEmbedding,
    "piecewise_linear": PiecewiseLinear,
    "periodic": Periodic,
    "plr": Plr,
    "pbld": Pbld,
}

__all__ = [
    "EMBEDDINGS",
    "Embedding",
    "NoEmbedding",
    "Pbld",
    "Periodic",
    "PiecewiseLinear",
    "Plr",
]
