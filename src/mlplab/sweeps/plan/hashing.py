"""Hashes that identify the configuration of a job, without keys that cannot change its result."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial

from mlplab.runs.resume_checks import result_config, stored_node
from mlplab.settings import Settings

_TO_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


class Hasher:
    """Hashes configurations; nodes that they share are converted to text once."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[object, str]] = {}  # by id, with the node, which keeps it

    def hash(self, config: Mapping[str, object]) -> str:
        """Return 16 hexadecimal digits: of the SHA-256 of the JSON text with sorted keys."""
        items = sorted(result_config(config).items())
        text = (
            "{"
            + ",".join([f"{_TO_JSON(key)}:{self._text(key, node)}" for key, node in items])
            + "}"
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _text(self, key: str, node: object) -> str:
        if not isinstance(node, (dict, list)):
            return _TO_JSON(node)
        if (known := self._texts.get(id(node))) is None:
            known = self._texts[id(node)] = node, _TO_JSON(stored_node(key, node))
        return known[1]


def job_hash(settings: Settings) -> str:
    """Return 16 hexadecimal digits that identify the configuration."""
    return Hasher().hash(settings.config)


def job_hashes(settings: Iterable[Settings], known: Mapping[int, str] | None = None) -> list[str]:
    """Return one unique hash for each job; repeated jobs get a suffix such as -2. `known` has the
    hashes of some of these objects by their ids.
    """
    known = known or {}
    hasher = Hasher()
    counts: Mapping[str, itertools.count[int]] = defaultdict(partial(itertools.count, 1))
    hashes = [known.get(id(one)) or hasher.hash(one.config) for one in settings]
    numbered = [(text, next(counts[text])) for text in hashes]
    return [text if number == 1 else f"{text}-{number}" for text, number in numbered]
