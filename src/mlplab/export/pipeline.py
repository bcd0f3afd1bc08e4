"""The computation of `Run.predict` as one torch module that torch.export and ONNX can trace.

Each column is a tensor [N, 1]: numbers and booleans are float64 with NaN for empty cells, dates are
float64 seconds since 1970-01-01 00:00 in their own time zone with NaN for empty cells, and
categories are int64 codes, see `Input.codes`. A network that was not trained on a file takes one
tensor x, float64 [N, F]. Shapes: N rows, F features, C classes, T targets, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mlplab.data.input_features import COLUMN, PRODUCT, InputFeatures
from mlplab.data.scaling import Scaler
from mlplab.data.tabular.column_encoder import ColumnEncoder
from mlplab.data.tabular.columns import CATEGORY, DATE
from mlplab.data.tabular.ranks import rank_values
from mlplab.model.clamp import Clamp
from mlplab.model.input_module import input_module
from mlplab.runs.run import Run

SECONDS_PER_DAY = 86400.0
TORCH_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "squared": torch.square,
    "cubed": lambda x: x * x * x,
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
}


class EncodeNumber(nn.Module):
    """Encode a number or boolean: impute, scale by rank and append the indicator as configured."""

    def __init__(self, column: ColumnEncoder) -> None:
        super().__init__()
        self.column = column
        # a buffer, since the ONNX exporter stores Python numbers in single precision
        self.fill = nn.Buffer(torch.tensor(column.fill or 0.0, dtype=torch.float64))
        quantiles = torch.tensor(column.quantiles, dtype=torch.float64)
        self.ascending_Q = nn.Buffer(quantiles)
        self.descending_Q = nn.Buffer(-quantiles.flip(0))
        results = rank_values(len(quantiles), column.normal).tolist()
        values = torch.tensor(results, dtype=torch.float64)
        self.ascending_values_Q = nn.Buffer(values)
        self.descending_values_Q = nn.Buffer(-values.flip(0))

    def forward(self, x_N1: Tensor) -> Tensor:
        missing = x_N1.isnan()
        filled = torch.where(missing, self.fill, x_N1) if self.column.fill is not None else x_N1
        if self.column.quantiles:
            upper = self._interpolated(filled, self.ascending_Q, self.ascending_values_Q)
            lower = self._interpolated(-filled, self.descending_Q, self.descending_values_Q)
            by_rank = 0.5 * (upper - lower)
            # an empty cell that training did not allow stays NaN
            filled = torch.where(filled.isnan(), filled, by_rank)
        return torch.cat([filled, missing.double()], 1) if self.column.indicator else filled

    @staticmethod
    def _interpolated(x_N1: Tensor, quantiles_Q: Tensor, values_Q: Tensor) -> Tensor:
        """Interpolate the values of the quantiles, which may repeat, linearly."""
        last = len(quantiles_Q) - 1
        if last < 1:
            return torch.zeros_like(x_N1)
        # the index of the last quantile that is not above x
        index_N1 = (quantiles_Q <= x_N1).sum(1, keepdim=True) - 1
        left_N = index_N1.clamp(0, last - 1).squeeze(1)
        low_N1, high_N1 = quantiles_Q[left_N].unsqueeze(1), quantiles_Q[left_N + 1].unsqueeze(1)
        width_N1 = high_N1 - low_N1
        fraction_N1 = torch.where(
            width_N1 > 0, (x_N1 - low_N1) / torch.where(width_N1 > 0, width_N1, 1.0), 0.0
        )
        start_N1, end_N1 = values_Q[left_N].unsqueeze(1), values_Q[left_N + 1].unsqueeze(1)
        inside_N1 = start_N1 + fraction_N1 * (end_N1 - start_N1)
        beyond_N1 = torch.where(index_N1 >= last, values_Q[-1], inside_N1)
        return torch.where(index_N1 < 0, values_Q[0], beyond_N1)


class EncodeCategory(nn.Module):
    """Encode a code as one feature per category, or as one number.

    `categories` are those that the codes enumerate: all that any of several models saw in training.
    A model that did not see a category encodes it as an unknown one.
    """

    def __init__(self, column: ColumnEncoder, categories: Sequence[str]) -> None:
        super().__init__()
        index_of = {category: i for i, category in enumerate(column.categories)}
        self.unknown, self.ordinal = len(index_of), column.ordinal
        indices = [*(index_of.get(category, self.unknown) for category in categories), self.unknown]
        self.indices = nn.Buffer(torch.tensor(indices))
        self.neutral = nn.Buffer(torch.tensor(column.neutral, dtype=torch.float64))
        self.range = nn.Buffer(torch.arange(self.unknown))

    def forward(self, code_N1: Tensor) -> Tensor:
        index_N1 = self.indices[code_N1.squeeze(1)].unsqueeze(1)
        # compared instead of looked up: a table has the square of the number of categories
        known = index_N1.double() if self.ordinal else (index_N1 == self.range).double()
        return torch.where(index_N1 == self.unknown, self.neutral, known)


class EncodeDate(nn.Module):
    """Encode seconds since 1970 as calendar fields.

    Source: Hinnant 2013, "chrono-Compatible Low-Level Date Algorithms", civil_from_days, for the
    proleptic Gregorian calendar.
    """

    def __init__(self, column: ColumnEncoder) -> None:
        super().__init__()
        self.column = column
        medians = column.date_medians or (0.0,) * len(column.date_fields)
        self.medians = nn.Buffer(torch.tensor(medians, dtype=torch.float64))

    def forward(self, seconds_N1: Tensor) -> Tensor:
        missing = seconds_N1.isnan()
        values = self._calendar_fields(torch.where(missing, 0.0, seconds_N1))
        features = [
            torch.where(missing, self.medians[index], values[date_field])
            for index, date_field in enumerate(self.column.date_fields)
        ]
        return torch.cat([*features, missing.double()] if self.column.indicator else features, 1)

    @staticmethod
    def _calendar_fields(seconds: Tensor) -> dict[str, Tensor]:
        days = torch.floor(seconds / SECONDS_PER_DAY)
        from_march = days + 719468.0  # days since 0000-03-01, so that a leap day ends its year
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
            "hour": torch.floor((seconds - days * SECONDS_PER_DAY) / 3600.0),
        }


class ComputeFeatures(nn.Module):
    """Compute the features of dataset.features from columns [N, R]."""

    def __init__(self, features: InputFeatures) -> None:
        super().__init__()
        self.formulas = features.formulas

    def forward(self, x_NR: Tensor) -> Tensor:
        features = []
        for function, (first, *second) in self.formulas:
            x_N1 = x_NR[:, first : first + 1]
            if function == PRODUCT:
                x_N1 = x_N1 * x_NR[:, second[0] : second[0] + 1]
            elif function != COLUMN:
                x_N1 = TORCH_FUNCTIONS[function](x_N1)
            features.append(x_N1)
        return torch.cat(features, 1)


class Scale(nn.Module):
    """Apply a scaler to [N, F], or the inverse of one that does not clip."""

    def __init__(self, scaler: Scaler, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.shift = nn.Buffer(torch.from_numpy(scaler.shift))
        self.scale = nn.Buffer(torch.from_numpy(scaler.scale))
        self.clip = None if scaler.clip is None else nn.Buffer(torch.from_numpy(scaler.clip))

    def forward(self, x_NF: Tensor) -> Tensor:
        if self.inverse:
            return x_NF * self.scale + self.shift
        scaled_NF = (x_NF - self.shift) / self.scale
        if self.clip is None:
            return scaled_NF
        share_NF = scaled_NF / self.clip
        clipped_NF = scaled_NF / (1 + share_NF.square()).sqrt()
        # where the square would overflow, the bound itself
        return torch.where(share_NF.abs() > 1e8, share_NF.sign() * self.clip, clipped_NF)


class TraceableModel(nn.Module):
    """One run as a module from columns to predictions.

    Returns class probabilities [N, C], or values [N, T] in the units of the target, as float64.
    """

    def __init__(self, run: Run, categories: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        preprocessing = run.preprocessing
        columns = preprocessing.encoder.columns if preprocessing.encoder is not None else ()
        self.encoders = nn.ModuleList(
            [_encoder(column, categories.get(column.name, ())) for column in columns]
        )
        self.spare = [column.spare for column in columns]
        features = preprocessing.input_features
        self.compute = nn.Identity() if features is None else ComputeFeatures(features)
        self.scale = Scale(preprocessing.feature_scaler)
        self.inputs = input_module(preprocessing.groups)
        self.network = run.module()
        if run.model.needs_double:
            self.network.double()
        self.dtype = next(self.network.parameters()).dtype
        self.loss = run.model.module_loss
        target_scaler = preprocessing.target_scaler
        self.restore = (
            nn.Identity()
            if preprocessing.task.classifies or target_scaler is None
            else Scale(target_scaler, inverse=True)
        )
        bounds = preprocessing.target_bounds
        self.clamp = nn.Identity() if bounds is None else Clamp(bounds)

    def forward(self, columns: Sequence[Tensor]) -> Tensor:
        x_NF = columns[0]
        if len(self.encoders):
            features = []
            for encode, spare, column_N1 in zip(self.encoders, self.spare, columns, strict=True):
                features.append(encode(column_N1))
                if spare:
                    features.append(torch.zeros_like(features[-1][:, :1]).expand(-1, spare))
            x_NF = torch.cat(features, 1)
        outputs_NC = self.network(self.inputs(self.scale(self.compute(x_NF))).to(self.dtype))
        if self.loss is not None:
            outputs_NC = self.loss.predict(outputs_NC.unsqueeze(0))[0]
        predicted: Tensor = self.restore(outputs_NC.double())
        clamped: Tensor = self.clamp(predicted)
        return clamped


class Pipeline(nn.Module):
    """The mean over the models of several runs.

    Returns (probabilities [N, C], index of the most probable class [N]) or (values [N, T],). A
    graph cannot refuse a row, so the index is -1 for a row whose probabilities are not finite.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        categories = all_categories(runs)
        self.models = nn.ModuleList([TraceableModel(run, categories) for run in runs]).eval()
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


def all_categories(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Return the categories of each column that any of the runs saw in training, sorted."""
    categories: dict[str, set[str]] = {}
    for encoder in (run.preprocessing.encoder for run in runs):
        for column in encoder.columns if encoder is not None else ():
            if column.kind == CATEGORY:
                categories.setdefault(column.name, set()).update(column.categories)
    return {name: tuple(sorted(names)) for name, names in categories.items()}


def _encoder(column: ColumnEncoder, categories: Sequence[str]) -> nn.Module:
    if column.kind == CATEGORY:
        return EncodeCategory(column, categories)
    return EncodeDate(column) if column.kind == DATE else EncodeNumber(column)
