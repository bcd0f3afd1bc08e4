"""An OpenML of one small table, in the place of the network: scikit-learn's own code asks it and
keeps what it says.
"""

from __future__ import annotations

import hashlib
import io
import json
from urllib.error import HTTPError, URLError

ROWS = [
    f"{i % 7 + 0.5},{'red' if i % 3 else 'blue'},{'?' if i == 5 else i},{'yes' if i % 2 else 'no'}"
    for i in range(60)
]
HEAD = [
    "@RELATION tiny",
    "@ATTRIBUTE size REAL",
    "@ATTRIBUTE color {red,blue}",
    "@ATTRIBUTE age REAL",
    "@ATTRIBUTE bought {yes,no}",
    "@DATA",
]
ARFF = "\n".join([*HEAD, *ROWS, ""])
DESCRIPTION = {
    "id": "77",
    "name": "tiny",
    "version": "1",
    "format": "ARFF",
    "status": "active",
    "processing_date": "2020-01-01 00:00:00",
    "file_id": "7",
    "url": "https://www.openml.org/data/v1/download/7/tiny.arff",
    "default_target_attribute": "bought",
    "licence": "CC0",
    "description_version": "1",
    "md5_checksum": hashlib.md5(ARFF.encode()).hexdigest(),
    "description": "tiny",
}
COLUMNS = {
    "size": {"data_type": "numeric"},
    "color": {"data_type": "nominal", "nominal_value": ["red", "blue"]},
    "age": {"data_type": "numeric", "number_of_missing_values": "1"},
    "bought": {"data_type": "nominal", "nominal_value": ["yes", "no"], "is_target": "true"},
}
PLAIN = {
    "is_target": "false",
    "is_ignore": "false",
    "is_row_identifier": "false",
    "number_of_missing_values": "0",
}
FEATURES = [
    {"index": str(i), "name": name, **PLAIN, **attributes}
    for i, (name, attributes) in enumerate(COLUMNS.items())
]


class _Answer(io.BytesIO):
    def info(self):
        return {}


def serve(monkeypatch):
    """Answer for the network."""
    answers = {
        "/data/list/data_name/tiny/": json.dumps(
            {"data": {"dataset": [{"did": 77, "name": "tiny", "version": 1, "status": "active"}]}}
        ),
        "/json/data/77": json.dumps({"data_set_description": DESCRIPTION}),
        "/json/data/features/77": json.dumps({"data_features": {"feature": FEATURES}}),
        "/json/data/qualities/77": json.dumps(
            {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "60"}]}}
        ),
        "tiny.arff": ARFF,
    }

    def urlopen(request, *args, **kwargs):
        for segment, text in answers.items():
            if segment in request.full_url:
                return _Answer(text.encode())
        raise HTTPError(request.full_url, 412, "unknown", {}, None)

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)


def cut_off(monkeypatch):
    """No network."""

    def urlopen(request, *args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)
