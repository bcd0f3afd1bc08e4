"""What an ensemble trains: the networks of its members, their data and their session."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from mlplab.data.feature_groups import Grouping
from mlplab.data.preparation.examples import Prepared, in_folds
from mlplab.data.preparation.grouping import with_groups
from mlplab.ensembles.sampling import load_ranges
from mlplab.ensembles.training import PackedTraining
from mlplab.ensembles.validation_rows import ValidationRows
from mlplab.errors import IncompatibleSettingsError
from mlplab.runs.packed_weights import member_settings
from mlplab.runs.run_training import TrainingProcess
from mlplab.settings import Settings
from mlplab.training import DataCache, PreparedMember, Session, prepare_members
from mlplab.validation import KFold


@dataclass(frozen=True)
class Packed:
    """An ensemble that is ready to train. `member` has its settings and its data."""

    member: PreparedMember
    training: PackedTraining
    session: Session

    @classmethod
    def prepare(
        cls, settings: Settings, cache: DataCache | None, process: TrainingProcess
    ) -> Packed:
        """Sample the members and prepare their data. Raises DataError or
        IncompatibleSettingsError.
        """
        if process.group is not None:
            raise IncompatibleSettingsError(
                f"ensemble={settings.ensemble} trains its members in one process: start it without"
                " torchrun or srun."
            )
        ranges = load_ranges(settings.ensemble_ranges, settings.overrides)
        overrides = [
            ranges.sample(settings.seed, member) for member in range(settings.ensemble or 0)
        ]
        config = {**settings.config, "ensemble_ranges": ranges.stored()}
        settings = dataclasses.replace(settings, ensemble_ranges=ranges.stored(), config=config)
        [single] = prepare_members([settings], DataCache() if cache is None else cache)
        whole = single.prepared
        if whole.held_out is not None:
            data, val = in_folds(whole), ValidationRows.out_of_fold(whole, whole.held_out)
        elif whole.val is not None:
            data, val = [whole], ValidationRows.of_val(whole)
        else:
            raise IncompatibleSettingsError(
                f"ensemble={settings.ensemble} selects its members on the validation split, and"
                " this dataset has none: set dataset.val=0.2, for example, or validation=kfold."
            )
        networks = _networks(settings, data, overrides)
        training = PackedTraining(networks, overrides, val, settings.seed)
        session = Session(fixed=True)
        session.add(networks)
        engines = {network.settings.engine for network in networks}
        engine = "eager" if engines == {"eager"} else "native"
        member = dataclasses.replace(
            single, settings=dataclasses.replace(single.settings, engine=engine)
        )
        return cls(member, training, session)

    @property
    def settings(self) -> Settings:
        """Those of the ensemble."""
        return self.member.settings

    @property
    def max_epochs(self) -> int:
        """The epochs of the member that trains longest, if nothing ends it."""
        return max(
            -(-int(group.population.early_stopping.last_step_K.max()) // per_epoch)
            for group in self.session.groups
            for per_epoch in (group.population.batches.per_epoch,)
        )

    @property
    def epoch(self) -> int:
        """The epoch of the member that is furthest."""
        return max(group.stepper.epoch for group in self.session.groups)

    @property
    def steps_per_epoch(self) -> int:
        """Those of the member with the most."""
        return max(group.population.batches.per_epoch for group in self.session.groups)


class _MemberData(DataCache):
    """The data of the ensemble, one per fold, with the inputs that the embedding of a member needs;
    members with equal embeddings share theirs.
    """

    def __init__(self, folds: Sequence[Prepared]) -> None:
        super().__init__()
        self.folds = folds
        self._of_grouping: dict[Grouping, list[Prepared]] = {}

    def prepared(self, settings: Settings) -> Prepared:
        kfold, grouping = settings.validation, settings.grouping
        if grouping not in self._of_grouping:
            self._of_grouping[grouping] = with_groups(self.folds, grouping)
        return self._of_grouping[grouping][kfold.fold or 0 if isinstance(kfold, KFold) else 0]


def _networks(
    settings: Settings, data: Sequence[Prepared], overrides: Sequence[Sequence[str]]
) -> list[PreparedMember]:
    """The networks of the members, of each one for each fold; all have the data of the ensemble's
    own seed.
    """
    choices: dict[str, object] = {}
    members = [
        _uncalibrated(member_settings(settings, lines, (settings.seed + member) % 2**32, choices))
        for member, lines in enumerate(overrides)
    ]
    kfold = settings.validation
    if isinstance(kfold, KFold):
        members = [
            dataclasses.replace(member, validation=dataclasses.replace(kfold, fold=fold))
            for member in members
            for fold in range(len(data))
        ]
    return prepare_members(members, _MemberData(data))


def _uncalibrated(member: Settings) -> Settings:
    """The settings of a member that is not calibrated by itself: the ensemble is, as a whole."""
    return dataclasses.replace(
        member, training=dataclasses.replace(member.training, calibration="none")
    )
