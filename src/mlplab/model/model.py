"""A trained model: what a run, a member of an ensemble and an estimator predict with.

Shapes: K members, N rows, B rows of whole blocks, F features, C classes, T targets, P parameters,
H units of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mlplab.finite import check_finite_outputs
from mlplab.losses import Loss, resolve_auto_loss
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure
from mlplab.network import as_module
from mlplab.network.affine import BLOCK_ROWS, VECTOR_ROWS, affine_in_blocks
from mlplab.network.layout import LayerViews
from mlplab.network.mlp import MLP, Buffers
from mlplab.settings import Settings
from mlplab.training.threads import limit_threads

MAX_ELEMENTS = 1 << 16
"""Numbers of a layer computed at once, unless one block of rows has more: they stay in the cache of
a core, and bound the memory.
"""
MAX_KEPT_WEIGHTS = 1 << 20
"""Weights that are kept in double precision between calls; of more members, each call converts them
in batches.
"""


@dataclass(frozen=True, eq=False)
class Model:
    """K members of one structure, with their preprocessing and their loss.

    The weights are theta_KP and the running statistics `buffers`, each [K, H], in the dtype of the
    training. `names` are the runs of the members as messages name them, if there are several.
    """

    preprocessing: Preprocessing
    network: MLP
    loss: Loss
    theta_KP: Tensor
    buffers: Buffers
    names: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, settings: Settings, preprocessing: Preprocessing, theta_KP: Tensor, buffers: Buffers
    ) -> Model:
        """Return the model of members with these settings."""
        loss = resolve_auto_loss(settings.loss, preprocessing.task)
        network = build_structure(settings, preprocessing, loss, affine_in_blocks)
        return cls(preprocessing, network, loss, theta_KP, buffers)

    @classmethod
    def stacked(
        cls,
        settings: Settings,
        preprocessing: Preprocessing,
        thetas: Sequence[Tensor],
        buffers: Sequence[Buffers],
    ) -> Model:
        """Return the model of members with these weights, each [P], and running statistics."""
        stacked = {name: torch.stack([b[name] for b in buffers]) for name in buffers[0]}
        return cls.of(settings, preprocessing, torch.stack(list(thetas)), stacked)

    @classmethod
    def of_state(
        cls, settings: Settings, preprocessing: Preprocessing, state: Mapping[str, Tensor]
    ) -> Model:
        """Return the model of one network from its state_dict as plain PyTorch.

        Raises RuntimeError if the state has other names or shapes.
        """
        empty = cls.of(settings, preprocessing, torch.empty(1, 0), {})
        layout, dtype = empty.network.layout, getattr(torch, settings.dtype)
        zeros_KP = torch.zeros(1, layout.num_parameters, dtype=dtype)
        initial = empty.network.buffers(1, dtype, zeros_KP.device)
        module = replace(empty, theta_KP=zeros_KP, buffers=initial).module()
        module.load_state_dict(state)
        values = [value.detach().t().flatten() for value in module.parameters()]
        # the third buffer of a normalization is the number of batches
        statistics = [value.unsqueeze(0) for value in module.buffers() if value.ndim]
        buffers = dict(zip(initial, statistics, strict=True))
        return replace(empty, theta_KP=torch.cat(values).unsqueeze(0), buffers=buffers)

    @classmethod
    def stack(cls, models: Sequence[Model]) -> Model:
        """Return all members of models with equal `key` and equal preprocessing."""
        buffers = {
            name: torch.cat([model.buffers[name] for model in models]) for name in models[0].buffers
        }
        theta_KP = torch.cat([model.theta_KP for model in models])
        names = tuple(name for model in models for name in model.names)
        return replace(models[0], theta_KP=theta_KP, buffers=buffers, names=names)

    def __len__(self) -> int:
        return len(self.theta_KP)

    @property
    def key(self) -> Hashable:
        """A key that is equal for models that differ only in weights and preprocessing."""
        return repr(
            (self.network.num_features, self.network.layers, self.loss, self.theta_KP.dtype)
        )

    def module(self, member: int = 0) -> nn.Sequential:
        """Return the network of a member as plain PyTorch, with copies of its weights: scaled
        features in, logits or scaled values out.
        """
        buffers = {name: value[member] for name, value in self.buffers.items()}
        layers = self.network.layers
        return as_module(self.network.layout, layers, self.theta_KP[member], buffers)

    def outputs(self, scaled_NF: np.ndarray) -> Tensor:
        """Return the outputs of the networks for scaled features, in float64: [K, N, C]."""
        return self._outputs(scaled_NF, lambda outputs_KNC: outputs_KNC)

    def weighted_members(self) -> list[tuple[Model, float]]:
        """Return the models whose mean with these weights is the prediction: the model itself, or
        the members of a packed ensemble.
        """
        return [(self, 1.0)]

    @property
    def needs_double(self) -> bool:
        """Whether `module` needs double precision: waves of large numbers lose the digits of single
        precision.
        """
        return any(layer.blocks for layer in self.network.layers)

    @property
    def module_loss(self) -> Loss | None:
        """What turns the outputs of `module` into predictions; None if they are predictions."""
        return self.loss

    def scores(
        self, scaled_NF: np.ndarray, source: str = "x", first: int = 0, allow_nan: bool = False
    ) -> np.ndarray:
        """Predict from scaled features, in float64: class probabilities [K, N, C], or values
        [K, N, T] in the units of the target.

        The scores of a row have the same bits whatever the other rows and members are. Raises
        NotFiniteError if one is not finite, unless `allow_nan`; it names the row, counted from
        `first`, and the `source` of the rows.
        """
        outputs_KNC = self._outputs(scaled_NF, self.loss.predict).numpy()
        scores_KNC: np.ndarray = np.asarray(self.preprocessing.predictions(outputs_KNC))
        if not allow_nan:
            for scores_NC, name in zip(scores_KNC, self.names or ("",) * len(self), strict=True):
                check_finite_outputs(scores_NC, source, first, name)
        return scores_KNC

    def deviations(self, scaled_NF: np.ndarray) -> np.ndarray | None:
        """Return the standard deviations that the networks predict in the units of the target,
        [K, N, T]; None if the loss has none.
        """
        if not self.loss.predicts_deviation:
            return None
        scaler = self.preprocessing.target_scaler
        scale_T = 1.0 if scaler is None else scaler.scale
        return np.asarray(self._outputs(scaled_NF, self.loss.deviation).numpy() * scale_T)

    @torch.no_grad()
    def _outputs(self, scaled_NF: np.ndarray, read: Callable[[Tensor], Tensor]) -> Tensor:
        """What `read` makes of the outputs, [K, N, C]. The rows are filled up to whole blocks."""
        num_rows, num_features = scaled_NF.shape
        unit = VECTOR_ROWS if num_rows < BLOCK_ROWS else BLOCK_ROWS
        num_filled = max(1, -(-num_rows // unit)) * unit
        x_BF = torch.zeros(num_filled, num_features, dtype=torch.float64)
        x_BF[:num_rows] = torch.from_numpy(np.ascontiguousarray(scaled_NF))
        widest = max(num_features, *(layer.units for layer in self.network.layers))
        max_blocks = max(1, MAX_ELEMENTS // (BLOCK_ROWS * widest))
        members = min(len(self), max_blocks)
        rows = max_blocks // members * BLOCK_ROWS
        # With several threads, the functions of torch would split a layer anywhere, and compute the
        # elements next to a split by other instructions.
        with limit_threads(0), np.errstate(over="ignore", invalid="ignore"):
            outputs = [
                self._member_outputs(slice(k, k + members), x_BF, rows, read)
                for k in range(0, len(self), members)
            ]
        return torch.cat(outputs)[:, :num_rows]

    def _member_outputs(
        self, members: slice, x_BF: Tensor, rows: int, read: Callable[[Tensor], Tensor]
    ) -> Tensor:
        views, buffers = self._double(members)
        num_members = len(views[0].weight)
        outputs = [
            read(self.network.forward(views, x.expand(num_members, -1, -1), buffers))
            for x in torch.split(x_BF, rows)
        ]
        return torch.cat(outputs, 1)

    def _double(self, members: slice) -> tuple[list[LayerViews], Buffers]:
        """The weights and running statistics of some members in double precision."""
        theta_KP, layout = self.theta_KP, self.network.layout
        tensors = (theta_KP, *self.buffers.values())
        state = tuple(tensor._version for tensor in tensors)  # changes with their values
        keeps = members.stop - members.start >= len(self) and theta_KP.numel() < MAX_KEPT_WEIGHTS
        kept = self.__dict__.get("_kept") if keeps else None
        if kept is not None and kept[0] == state:
            views: list[LayerViews] = kept[1]
            return views, kept[2]
        views = layout.layers(layout.split(theta_KP[members].double()))
        buffers = {name: value[members].double() for name, value in self.buffers.items()}
        if keeps:
            self.__dict__["_kept"] = state, views, buffers
        return views, buffers
