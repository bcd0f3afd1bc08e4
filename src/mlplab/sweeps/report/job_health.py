"""health.json of a sweep: the names of the findings of each job, written by `mlplab doctor`."""

from __future__ import annotations

from pathlib import Path

from mlplab.runs.run_index import json_or_empty

FILE = "health.json"
FORMAT = "mlplab-health-1"


def read_health(folder: Path) -> dict[int, str]:
    """Return the findings of the jobs by number, such as "dead_units"; "healthy" for none. Empty
    without a file of this format.
    """
    content = json_or_empty(folder / FILE)
    findings = content.get("findings")
    if content.get("format") != FORMAT or not isinstance(findings, dict):
        return {}
    return {
        int(number): ", ".join(map(str, names)) or "healthy"
        for number, names in findings.items()
        if number.isdigit() and isinstance(names, list)
    }
