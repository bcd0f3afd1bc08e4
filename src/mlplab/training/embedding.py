"""The layers of an embedding, which depend on the features of the prepared data."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from mlplab.data.feature_groups import OTHER, FeatureGroup, FeatureGroups

if TYPE_CHECKING:
    from mlplab.embeddings import Embedding
    from mlplab.network.layer import Layer
    from mlplab.settings import Settings


def with_embedding(settings: Settings, groups: FeatureGroups | None, num_inputs: int) -> Settings:
    """Return the settings with the layers that embed the inputs of the network before the others,
    in the place of those of other data. Without groups, no input is embedded.
    """
    if groups is None:
        groups = FeatureGroups((FeatureGroup(OTHER, num_inputs),))
    layers: tuple[Layer, ...] = ()
    if settings.embedding is not None:
        layers = _layers(settings.embedding, groups.sizes)
    others = settings.layers[settings.num_embedding_layers or 0 :]
    return replace(settings, layers=(*layers, *others), num_embedding_layers=len(layers))


@functools.lru_cache(maxsize=256)
def _layers(embedding: Embedding, sizes: FeatureGroups) -> tuple[Layer, ...]:
    """The layers for groups of these sizes, which members of a population share."""
    return embedding.layers(sizes)
