"""The weights of a packed ensemble as one file, and the settings of its members."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from mlplab.io.files import weights_bytes, write_bytes_atomic
from mlplab.model.model import Model
from mlplab.model.packed import PackedModel
from mlplab.model.preprocessing import Preprocessing
from mlplab.settings import Settings

FORMAT = "mlplab-ensemble-1"


@dataclass(frozen=True)
class Selected:
    """A member of the result: its number, its sampled overrides, and its share of the mean."""

    member: int
    overrides: tuple[str, ...]
    weight: float
    epoch: int
    score: float  # on validation, lower is better
    fold: int | None = None  # of a cross-validation, in which a member has a network for each fold


def member_settings(settings: Settings, overrides: Sequence[str], seed: int) -> Settings:
    """Return the settings of a member: those of the ensemble with its sampled overrides."""
    from mlplab.config.builder import build
    from mlplab.config.edit_stored import apply_overrides

    config = {**settings.config, "ensemble": None, "ensemble_ranges": None, "seed": seed}
    source = (settings.folder or Path("outputs")) / "config.yaml"
    built = build(apply_overrides(config, overrides, source), False)
    return replace(built, dataset=settings.dataset, folder=settings.folder)


def write_ensemble(path: Path, model: PackedModel, selected: Sequence[Selected]) -> None:
    """Write the members' weights, as plain PyTorch names them after the index of the member."""
    tensors = {
        f"{index}.{name}": tensor
        for index, member in enumerate(model.members)
        for name, tensor in member.module().state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        "preprocessing": model.preprocessing.to_json(),
        "ensemble": json.dumps(
            [{k: v for k, v in asdict(one).items() if v is not None} for one in selected]
        ),
    }
    write_bytes_atomic(path, weights_bytes(tensors, metadata))


def read_ensemble(
    settings: Settings,
    preprocessing: Preprocessing,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
) -> PackedModel:
    """Return the model of the content of a file that `write_ensemble` wrote.

    Raises ValueError for another version of the format.
    """
    if metadata.get("format") != FORMAT:
        raise ValueError(f"the format is {metadata.get('format')!r}, not {FORMAT!r}")
    models, weights = [], []
    settings_of: dict[tuple[str, ...], Settings] = {}
    for index, one in enumerate(json.loads(metadata["ensemble"])):
        prefix = f"{index}."
        state = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        lines = tuple(one["overrides"])
        if lines not in settings_of:
            settings_of[lines] = member_settings(settings, lines, settings.seed)
        models.append(Model.of_state(settings_of[lines], preprocessing, state))
        weights.append(float(one["weight"]))
    return PackedModel.of_members(models, weights)
