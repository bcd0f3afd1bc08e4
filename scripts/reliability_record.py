"""Write docs/reliability.md: the fault matrix with tests and last results, and campaign figures.

.venv/bin/python scripts/reliability_record.py outputs/campaign/STATE
"""

from __future__ import annotations

import json
import platform
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "reliability"))
from test_matrix import MATRIX, marked  # noqa: E402

TITLES = {
    "A": "Process death and signals",
    "B": "Storage and checkpoints",
    "C": "Security",
    "D": "Configuration input",
    "E": "Numbers",
    "F": "Sweeps",
    "G": "Logging and TensorBoard",
}


def outcomes(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return {test: (passed, failed, skipped)}, summed over the cases of each test."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = (
            case.attrib["classname"].replace(".", "/")
            + ".py::"
            + case.attrib["name"].partition("[")[0]
        )
        kinds = {child.tag for child in case}
        counts[name][1 if kinds & {"failure", "error"} else 2 if "skipped" in kinds else 0] += 1
    return {name: (a, b, c) for name, (a, b, c) in counts.items()}


def result(tests: list[str], results: dict[str, tuple[int, int, int]]) -> str:
    """ "12 passed", over all cases of the tests."""
    numbers = [results[test] for test in tests if test in results]
    if not numbers:
        return "with the suite"
    passed, failed, skipped = (sum(column) for column in zip(*numbers, strict=True))
    return ", ".join(
        f"{n} {status}"
        for n, status in ((passed, "passed"), (failed, "FAILED"), (skipped, "skipped"))
        if n
    )


def rows(results: dict[str, tuple[int, int, int]]) -> list[str]:
    """The matrix as Markdown."""
    lines, tests, section = [], marked(), ""
    for name, entry in MATRIX.items():
        if name[0] != section:
            section = name[0]
            lines += [
                "",
                f"### {section}. {TITLES[section]}",
                "",
                "| row | what happens | what is expected | tier | test | last result |",
                "|---|---|---|---|---|---|",
            ]
        row_tests = tests.get(name, []) + entry.get("tests", [])
        shown = "<br>".join(
            f"`{test.removeprefix('tests/').removeprefix('reliability/')}`" for test in row_tests
        )
        remark = f" ({entry['note']})" if "note" in entry else ""
        last = result(row_tests, results) if row_tests else f"no test: {entry['not']}"
        lines.append(
            f"| {name} | {entry['fault']} | {entry['expected']}{remark} | {entry.get('tier', '')} |"
            f" {shown} | {last} |"
        )
    return lines


def campaigns(path: Path) -> list[str]:
    """The latest record of each campaign, one line each."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    latest: dict[str, dict[str, object]] = {}
    steps = [record for record in records if record["campaign"] == "stop and resume at each step"]
    chunks = {
        (record["file"], record["chunk"]): record
        for record in records
        if record["campaign"] == "hostile values"
    }
    for record in records:
        if record["campaign"] not in (
            "stop and resume at each step",
            "hostile corpus",
            "hostile values",
        ):
            latest[str(record["campaign"])] = record
    lines = ["| campaign | result |", "|---|---|"]
    for name, record in latest.items():
        lines.append(
            f"| {name} | "
            + ", ".join(
                f"{key} {value}" for key, value in record.items() if key not in ("campaign", "why")
            )
            + " |"
        )
    if chunks:
        tried = sum(int(record["cases"]) for record in chunks.values())
        all_cases = {file: int(record["of"]) for (file, _), record in chunks.items()}
        lines.append(
            f"| hostile values in stored files | files {len(all_cases)}, tried {tried} of"
            f" {sum(all_cases.values())}, seed {next(iter(chunks.values()))['seed']} |"
        )
    if steps:
        total = sum(int(record["stops"]) for record in steps)
        lines.append(
            f"| stop and resume at each step of 100 | {len(steps)} optimizers and schedules,"
            f" {total} stops, 0 differing |"
        )
    return lines


def main() -> None:
    """Insert the record between the markers of docs/reliability.md."""
    folder = Path(sys.argv[1])
    record, reports = folder / "figures.jsonl", sorted(folder.glob("*.xml"))
    results: dict[str, tuple[int, int, int]] = {}
    for path in reports:  # the last run of a test counts
        results |= outcomes(path)
    import torch

    target = ROOT / "docs" / "reliability.md"
    before, _, rest = target.read_text().partition("<!-- record -->")
    _, _, after = rest.partition("<!-- end of record -->")
    circumstances = (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, 2 cores, no GPU,"
        f" Python {platform.python_version()}, torch {torch.__version__}"
    )
    head = ["<!-- record -->", "", f"Last run in full: {circumstances}.", "", "## Campaigns", ""]
    text = [
        *head,
        *campaigns(record),
        "",
        "## The fault matrix",
        *rows(results),
        "",
        "<!-- end of record -->",
    ]
    target.write_text(before + "\n".join(text) + after)


if __name__ == "__main__":
    main()
