"""From raw columns to predictions as one torch module, which torch.export and ONNX can trace: what
`Run.predict` computes, step by step.

Each column comes as a tensor [N, 1]: numbers and truth values as float64 with NaN where empty;
dates as seconds since 1970-01-01 00:00 of their own clock, float64, NaN where empty; categories as
int64 codes, as `codes` has them. A network that did not learn from a file takes one tensor x,
float64 [N, F]. Shapes: N rows, F features, C classes, T targets, M models, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mlplab.data.scaling import Scaler
from mlplab.data.tabular.columns import CATEGORY, DATE
from mlplab.data.tabular.encoder import MISSING_CATEGORY, ColumnEncoder
from mlplab.losses import resolve_auto_loss
from mlplab.runs.run import Run

DAY = 86400.0


class EncodeNumber(nn.Module):
    """A number or truth value: filled in, by rank where it is so scaled, and whether it was
    missing.
    """

    up: Tensor
    down: Tensor

    def __init__(self, column: ColumnEncoder) -> None:
        super().__init__()
        self.column = column
        quantiles = torch.tensor(column.quantiles, dtype=torch.float64)
        self.register_buffer("up", quantiles)
        self.register_buffer("down", -quantiles.flip(0))

    def forward(self, x_N1: Tensor) -> Tensor:
        missing = x_N1.isnan()
        filled = (
            torch.where(missing, self.column.fill, x_N1) if self.column.fill is not None else x_N1
        )
        if self.column.quantiles:
            ranks = 0.5 * (self._ranks(filled, self.up) + 1 - self._ranks(-filled, self.down))
            # an empty cell where none was allowed stays visible
            filled = torch.where(filled.isnan(), filled, ranks)
        return torch.cat([filled, missing.double()], 1) if self.column.indicator else filled

    @staticmethod
    def _ranks(x_N1: Tensor, quantiles_Q: Tensor) -> Tensor:
        """Linear interpolation of the ranks from 0 to 1 at the quantiles, which may repeat."""
        last = len(quantiles_Q) - 1
        if last < 1:
            return torch.zeros_like(x_N1)
        # the last quantile that is not above x
        below_N1 = (quantiles_Q <= x_N1).sum(1, keepdim=True) - 1
        left_N = below_N1.clamp(0, last - 1).squeeze(1)
        low_N1, high_N1 = quantiles_Q[left_N].unsqueeze(1), quantiles_Q[left_N + 1].unsqueeze(1)
        width_N1 = high_N1 - low_N1
        share_N1 = torch.where(
            width_N1 > 0, (x_N1 - low_N1) / torch.where(width_N1 > 0, width_N1, 1.0), 0.0
        )
        inside_N1 = (left_N.unsqueeze(1).double() + share_N1) / last
        return torch.where(below_N1 < 0, 0.0, torch.where(below_N1 >= last, 1.0, inside_N1))


class EncodeCategory(nn.Module):
    """A code as a feature a word, the last for words that training did not meet; or as one number.

    `words` are those that the codes stand for: what any of several models has met. Each model has
    places of its own for them.
    """

    places: Tensor
    translation: Tensor

    def __init__(self, column: ColumnEncoder, words: Sequence[str]) -> None:
        super().__init__()
        self.ordinal = column.ordinal
        own = {word: i for i, word in enumerate(column.words)}
        self.register_buffer("places", torch.arange(len(own) + 1))
        self.register_buffer(
            "translation", torch.tensor([own.get(word, len(own)) for word in words] + [len(own)])
        )

    def forward(self, code_N1: Tensor) -> Tensor:
        place_N1 = self.translation[code_N1.squeeze(1)].unsqueeze(1)
        return place_N1.double() if self.ordinal else (place_N1 == self.places).double()


class EncodeDate(nn.Module):
    """Seconds since 1970 as parts of the calendar. Source of the day count: Hinnant 2013, days from
    civil, for the proleptic Gregorian calendar.
    """

    def __init__(self, column: ColumnEncoder) -> None:
        super().__init__()
        self.column = column

    def forward(self, seconds_N1: Tensor) -> Tensor:
        missing = seconds_N1.isnan()
        seconds_N1 = torch.where(missing, 0.0, seconds_N1)
        parts = self._parts(seconds_N1)
        medians = self.column.quantiles or (0.0,) * len(self.column.parts)
        found = [
            torch.where(missing, median, parts[part])
            for part, median in zip(self.column.parts, medians, strict=True)
        ]
        return torch.cat([*found, missing.double()] if self.column.indicator else found, 1)

    @staticmethod
    def _parts(seconds: Tensor) -> dict[str, Tensor]:
        days = torch.floor(seconds / DAY)
        from_march = days + 719468.0  # days since 0000-03-01: a leap day is the last of its year
        era = torch.floor(from_march / 146097.0)
        day_of_era = from_march - era * 146097.0
        year_of_era = torch.floor(
            (
                day_of_era
                - torch.floor(day_of_era / 1460.0)
                + torch.floor(day_of_era / 36524.0)
                - torch.floor(day_of_era / 146096.0)
            )
            / 365.0
        )
        day_of_year = day_of_era - (
            365.0 * year_of_era + torch.floor(year_of_era / 4.0) - torch.floor(year_of_era / 100.0)
        )
        month_from_march = torch.floor((5.0 * day_of_year + 2.0) / 153.0)
        month = month_from_march + torch.where(month_from_march < 10.0, 3.0, -9.0)
        return {
            "year": year_of_era + era * 400.0 + torch.where(month <= 2.0, 1.0, 0.0),
            "month": month,
            "day": day_of_year - torch.floor((153.0 * month_from_march + 2.0) / 5.0) + 1.0,
            # 1970-01-01 was a Thursday
            "day_of_week": days + 3.0 - torch.floor((days + 3.0) / 7.0) * 7.0,
            "hour": torch.floor((seconds - days * DAY) / 3600.0),
        }


class Scale(nn.Module):
    """(x - shift) / scale, or back."""

    shift: Tensor
    scale: Tensor

    def __init__(self, scaler: Scaler, back: bool = False) -> None:
        super().__init__()
        self.back = back
        self.register_buffer("shift", torch.from_numpy(scaler.shift))
        self.register_buffer("scale", torch.from_numpy(scaler.scale))

    def forward(self, x_NF: Tensor) -> Tensor:
        return x_NF * self.scale + self.shift if self.back else (x_NF - self.shift) / self.scale


class Model(nn.Module):
    """One run: columns in, class probabilities [N, C] or values [N, T] in the target's own units
    out, float64.
    """

    def __init__(self, run: Run, words: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        own = run.preprocessing
        columns = own.encoder.columns if own.encoder is not None else ()
        self.encoders = nn.ModuleList(
            [_encoder(column, words.get(column.name, ())) for column in columns]
        )
        self.spare = [column.spare for column in columns]
        self.scale = Scale(own.feature_scaler)
        self.network = run.module()
        self.dtype = next(self.network.parameters()).dtype
        self.loss = resolve_auto_loss(run.settings.loss, own.task)
        plain = own.task.classifies or own.target_scaler is None
        self.restore = (
            nn.Identity()
            if plain or own.target_scaler is None
            else Scale(own.target_scaler, back=True)
        )

    def forward(self, columns: Sequence[Tensor]) -> Tensor:
        x_NF = columns[0]
        if len(self.encoders):
            pieces = []
            for encode, spare, column_N1 in zip(self.encoders, self.spare, columns, strict=True):
                pieces.append(encode(column_N1))
                if spare:
                    pieces.append(torch.zeros_like(pieces[-1][:, :1]).expand(-1, spare))
            x_NF = torch.cat(pieces, 1)
        outputs_NC = self.network(self.scale(x_NF).to(self.dtype))
        predicted: Tensor = self.restore(self.loss.predict(outputs_NC.unsqueeze(0))[0].double())
        return predicted


class Pipeline(nn.Module):
    """The mean over several models: (probabilities [N, C], place of the most probable class [N]),
    or (values [N, T],). A graph cannot refuse a row: one whose probabilities are not finite keeps
    them, and the place -1.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        words = vocabulary(runs)
        self.models = nn.ModuleList([Model(run, words) for run in runs]).eval()
        self.classifies = runs[0].preprocessing.task.classifies

    def forward(self, *columns: Tensor) -> tuple[Tensor, ...]:
        scores = (
            torch.stack([model(columns) for model in self.models]).mean(0)
            if len(self.models) > 1
            else self.models[0](columns)
        )
        if not self.classifies:
            return (scores,)
        return scores, torch.where(scores.isfinite().all(1), scores.argmax(1), -1)


def vocabulary(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """The words that any of the runs has met in each column of categories."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for column in (
            run.preprocessing.encoder.columns if run.preprocessing.encoder is not None else ()
        ):
            if column.kind == CATEGORY:
                found.setdefault(column.name, {}).update(dict.fromkeys(column.words))
    return {name: tuple(sorted(words)) for name, words in found.items()}


def codes(words: Sequence[str]) -> dict[str, int]:
    """Word -> code; every other word is len(words). The empty text stands for an empty cell."""
    found = {word: i for i, word in enumerate(words)}
    if MISSING_CATEGORY in found:
        found[""] = found[MISSING_CATEGORY]
    return found


def _encoder(column: ColumnEncoder, words: Sequence[str]) -> nn.Module:
    if column.kind == CATEGORY:
        return EncodeCategory(column, words)
    return EncodeDate(column) if column.kind == DATE else EncodeNumber(column)
