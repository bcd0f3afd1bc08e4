"""The non-scalar summary messages of an event file, in the format of TensorBoard's plugins.

Importing this module imports TensorBoard's protobufs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DataType
from tensorboard.plugins.hparams import api_pb2 as api
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)

_NUM_BINS = 30


def text(tag: str, markdown: str) -> Summary.Value:
    """Return a summary with Markdown text."""
    return texts(tag, "text", [markdown.encode(errors="replace")])


def texts(tag: str, plugin: str, values: Sequence[bytes]) -> Summary.Value:
    """Return a summary with serialized messages for a plugin that reads strings."""
    return _value(
        tag, tensor=_tensor("DT_STRING", [], string_val=list(values)), metadata=_metadata(plugin)
    )


def numbers(
    tag: str, plugin: str, values: NDArray[np.float32], content: bytes = b""
) -> Summary.Value:
    """Return a summary with a float32 tensor for a plugin that reads one."""
    return _value(
        tag,
        tensor=_tensor("DT_FLOAT", values.shape, tensor_content=values.astype("<f4").tobytes()),
        metadata=_metadata(plugin, content),
    )


def image(tag: str, png: bytes, width: int, height: int) -> Summary.Value:
    """Return a summary with a PNG image of `width` x `height` pixels."""
    return _value(
        tag,
        image=Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png),
    )


def histogram(tag: str, values: NDArray[np.float64]) -> Summary.Value:
    """Return a summary with a histogram of 30 equal bins [30, 3]: left edge, right edge, count.

    If all values are equal, their count is in the last bin.
    """
    low, high = values.min(), values.max()
    if low == high:
        edges = np.full(_NUM_BINS + 1, low)
        counts = np.array([0] * (_NUM_BINS - 1) + [values.size])
    else:
        counts, edges = np.histogram(values, _NUM_BINS, range=(low, high))
    rows = np.stack([edges[:-1], edges[1:], counts], axis=1)
    return _value(
        tag,
        tensor=_tensor("DT_DOUBLE", rows.shape, tensor_content=rows.astype("<f8").tobytes()),
        metadata=_metadata("histograms"),
    )


def session_start(
    hparams: Mapping[str, object],
    metrics: Sequence[str],
    choices: Mapping[str, Sequence[object]],
    now: float,
) -> list[Summary.Value]:
    """Return the summaries with the experiment (columns of the HParams table and their types) and
    the hyperparameters of this run.

    TensorBoard uses the first experiment that it finds below its folder, so every run of a sweep
    writes the same one. `now` is in seconds since 1970.
    """
    kinds = {name: _kind(choices.get(name, [value])) for name, value in hparams.items()}
    experiment = api.Experiment(
        hparam_infos=[_info(name, kind, choices.get(name, ())) for name, kind in kinds.items()],
        metric_infos=[api.MetricInfo(name=api.MetricName(tag=tag)) for tag in metrics],
        time_created_secs=now,
    )
    start = SessionStartInfo(start_time_secs=now)
    for name, value in hparams.items():
        field, convert = _FIELDS[kinds[name]]
        setattr(start.hparams[name], field, convert(value))
    return [_session("experiment", experiment), _session("session_start_info", start)]


def session_end(success: bool, now: float) -> Summary.Value:
    """Return the summary with the end time (seconds since 1970) and the success of the run."""
    status = api.STATUS_SUCCESS if success else api.STATUS_FAILURE
    return _session("session_end_info", SessionEndInfo(status=status, end_time_secs=now))


def _to_string(value: object) -> str:
    return "null" if value is None else str(value)


_FIELDS: dict[str, tuple[str, Callable[[Any], bool | float | str]]] = {
    "DATA_TYPE_BOOL": ("bool_value", bool),
    "DATA_TYPE_FLOAT64": ("number_value", float),
    "DATA_TYPE_STRING": ("string_value", _to_string),
}


def _kind(values: Sequence[object]) -> str:
    """The type of a hyperparameter: boolean or number if all its values are, else string."""
    if all(isinstance(value, bool) for value in values):
        return "DATA_TYPE_BOOL"
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return "DATA_TYPE_FLOAT64"
    return "DATA_TYPE_STRING"


def _info(name: str, kind: str, choices: Sequence[Any]) -> api.HParamInfo:
    # TensorBoard shows these columns first
    info = api.HParamInfo(name=name, type=getattr(api, kind), differs=len(choices) != 1)
    if choices and kind == "DATA_TYPE_FLOAT64":
        info.domain_interval.min_value, info.domain_interval.max_value = min(choices), max(choices)
    elif choices:
        info.domain_discrete.extend(sorted({_FIELDS[kind][1](choice) for choice in choices}))
    return info


def _session(field: str, message: object) -> Summary.Value:
    data = HParamsPluginData(version=0, **{field: message})
    return _value(
        f"_hparams_/{field}",
        tensor=_tensor("DT_FLOAT", [0]),
        metadata=_metadata("hparams", data.SerializeToString()),
    )


def _value(tag: str, **content: object) -> Summary.Value:
    return Summary.Value(tag=tag, **content)


def _metadata(plugin: str, content: bytes = b"") -> SummaryMetadata:
    """The plugin that shows the value. Text and histograms have no content, because their version 0
    is the default of protobuf.
    """
    data = SummaryMetadata.PluginData(plugin_name=plugin, content=content)
    return SummaryMetadata(plugin_data=data)


def _tensor(dtype: str, shape: Sequence[int], **content: object) -> TensorProto:
    return TensorProto(dtype=DataType.Value(dtype), tensor_shape=tensor_shape(shape), **content)


def tensor_shape(sizes: Sequence[int]) -> TensorShapeProto:
    """Return the message of a shape."""
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])
