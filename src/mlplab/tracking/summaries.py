"""The summary messages of an event file other than scalars, as TensorBoard's plugins read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUM_BINS = 30


def text(tag: str, markdown: str) -> Any:
    """A Markdown text."""
    tensor = _tensor("DT_STRING", [], string_val=[markdown.encode(errors="replace")])
    return _value(tag, tensor=tensor, metadata=_metadata("text"))


def texts(tag: str, plugin: str, values: Sequence[bytes]) -> Any:
    """One serialized message, or several, for a plugin that reads texts."""
    return _value(
        tag, tensor=_tensor("DT_STRING", [], string_val=list(values)), metadata=_metadata(plugin)
    )


def numbers(tag: str, plugin: str, values: NDArray[np.float32], content: bytes = b"") -> Any:
    """A tensor for a plugin that reads one."""
    tensor = _tensor("DT_FLOAT", values.shape, tensor_content=values.astype("<f4").tobytes())
    return _value(tag, tensor=tensor, metadata=_metadata(plugin, content))


def image(tag: str, png: bytes, width: int, height: int) -> Any:
    """A PNG picture."""
    picture = _summary().Summary.Image(
        width=width, height=height, colorspace=4, encoded_image_string=png
    )
    return _value(tag, image=picture)


def histogram(tag: str, values: NDArray[np.float64]) -> Any:
    """Rows of left edge, right edge, count over equal bins; where all values are one, its count is
    in the last bin.
    """
    low, high = values.min(), values.max()
    if low == high:
        edges = np.full(_NUM_BINS + 1, low)
        counts = np.array([0] * (_NUM_BINS - 1) + [values.size])
    else:
        counts, edges = np.histogram(values, _NUM_BINS, range=(low, high))
    rows = np.stack([edges[:-1], edges[1:], counts], axis=1)
    tensor = _tensor("DT_DOUBLE", rows.shape, tensor_content=rows.astype("<f8").tobytes())
    return _value(tag, tensor=tensor, metadata=_metadata("histograms"))


def session_start(
    hparams: Mapping[str, Any],
    metrics: Sequence[str],
    choices: Mapping[str, Sequence[Any]],
    now: float,
) -> list[Any]:
    """The experiment (which columns the HParams table has, and of which kind) and the
    hyperparameters of this run.

    TensorBoard takes the first experiment that it finds below its folder, so every run of a sweep
    carries the same one.
    """
    api, plugin = _hparams()
    kinds = {name: _kind(choices.get(name, [value])) for name, value in hparams.items()}
    infos = [_info(api, name, kind, choices.get(name, ())) for name, kind in kinds.items()]
    tags = [api.MetricInfo(name=api.MetricName(tag=tag)) for tag in metrics]
    experiment = api.Experiment(hparam_infos=infos, metric_infos=tags, time_created_secs=now)
    start = plugin.SessionStartInfo(start_time_secs=now)
    for name, value in hparams.items():
        field, convert = _FIELDS[kinds[name]]
        setattr(start.hparams[name], field, convert(value))
    return [
        _session(plugin, "experiment", experiment),
        _session(plugin, "session_start_info", start),
    ]


def session_end(success: bool, now: float) -> Any:
    """When and how the run ended."""
    api, plugin = _hparams()
    status = api.STATUS_SUCCESS if success else api.STATUS_FAILURE
    return _session(
        plugin, "session_end_info", plugin.SessionEndInfo(status=status, end_time_secs=now)
    )


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


_FIELDS: dict[str, tuple[str, Any]] = {
    "DATA_TYPE_BOOL": ("bool_value", bool),
    "DATA_TYPE_FLOAT64": ("number_value", float),
    "DATA_TYPE_STRING": ("string_value", _word),
}


def _kind(values: Sequence[Any]) -> str:
    """One kind for all values that a hyperparameter takes: what is not all flags or all numbers is
    text.
    """
    if all(isinstance(value, bool) for value in values):
        return "DATA_TYPE_BOOL"
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return "DATA_TYPE_FLOAT64"
    return "DATA_TYPE_STRING"


def _info(api: Any, name: str, kind: str, choices: Sequence[Any]) -> Any:
    # TensorBoard shows these columns first
    info = api.HParamInfo(name=name, type=getattr(api, kind), differs=len(choices) != 1)
    if choices and kind == "DATA_TYPE_FLOAT64":
        info.domain_interval.min_value, info.domain_interval.max_value = min(choices), max(choices)
    elif choices:
        info.domain_discrete.extend(sorted({_FIELDS[kind][1](choice) for choice in choices}))
    return info


def _session(plugin: Any, field: str, message: Any) -> Any:
    data = plugin.HParamsPluginData(version=0, **{field: message})
    empty = _tensor("DT_FLOAT", [0])
    return _value(
        f"_hparams_/{field}", tensor=empty, metadata=_metadata("hparams", data.SerializeToString())
    )


def _hparams() -> tuple[Any, Any]:
    return import_module("tensorboard.plugins.hparams.api_pb2"), import_module(
        "tensorboard.plugins.hparams.plugin_data_pb2"
    )


def _summary() -> Any:
    return import_module("tensorboard.compat.proto.summary_pb2")


def _value(tag: str, **content: Any) -> Any:
    return _summary().Summary.Value(tag=tag, **content)


def _metadata(plugin: str, content: bytes = b"") -> Any:
    """Which plugin shows the value. Text and histograms have no content: their version 0 is
    protobuf's default.
    """
    messages = _summary()
    data = messages.SummaryMetadata.PluginData(plugin_name=plugin, content=content)
    return messages.SummaryMetadata(plugin_data=data)


def _tensor(dtype: str, shape: Sequence[int], **content: Any) -> Any:
    messages = import_module("tensorboard.compat.proto.tensor_pb2")
    sizes = import_module("tensorboard.compat.proto.tensor_shape_pb2").TensorShapeProto
    dims = [sizes.Dim(size=size) for size in shape]
    number = import_module("tensorboard.compat.proto.types_pb2").DataType.Value(dtype)
    return messages.TensorProto(dtype=number, tensor_shape=sizes(dim=dims), **content)
