"""Every row of the fault matrix has a test, or says why it has none; the record in docs/ tells of
all of them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MATRIX = yaml.safe_load((HERE / "matrix.yaml").read_text())


def marked() -> dict[str, list[str]]:
    """Row -> the tests below this folder that carry its mark."""
    tests_of_row: dict[str, list[str]] = {}
    for path in sorted([*HERE.glob("test_*.py"), ROOT / "tests" / "data" / "test_files.py"]):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                for mark in node.decorator_list:
                    if (
                        isinstance(mark, ast.Call)
                        and isinstance(mark.func, ast.Name)
                        and mark.func.id == "row"
                    ):
                        for name in mark.args:
                            tests_of_row.setdefault(name.value, []).append(
                                f"{path.relative_to(ROOT)}::{node.name}"
                            )
    return tests_of_row


def test_every_row_has_a_test_or_a_reason():
    tests = marked()
    assert set(tests) <= set(MATRIX)
    for name, entry in MATRIX.items():
        proven = tests.get(name, []) + entry.get("tests", [])
        assert bool(proven) != bool(entry.get("not")), name


def test_rows_say_what_they_mean():
    """A comma without quotes would end a text in the middle."""
    for name, entry in MATRIX.items():
        assert set(entry) <= {"fault", "expected", "tier", "note", "tests", "not"}, name
        assert all(
            isinstance(entry[key], str)
            for key in ("fault", "expected", "tier", "note", "not")
            if key in entry
        ), name


def test_tests_that_are_named_exist():
    for entry in MATRIX.values():
        for test in entry.get("tests", []):
            path, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / path).read_text()


def test_a_test_is_named_after_its_row():
    for name, tests in marked().items():
        named_tests = [test for test in tests if re.search(rf"test_{name.lower()}_", test)]
        assert (
            named_tests or MATRIX[name].get("tests") or all("::test_" in test for test in tests)
        ), name


def test_the_record_tells_of_every_row():
    text = (ROOT / "docs" / "reliability.md").read_text()
    for name in MATRIX:
        assert f"| {name} |" in text, name


def test_every_paragraph_of_the_security_contract_names_its_tests():
    contract = (ROOT / "SECURITY.md").read_text()
    record = (ROOT / "docs" / "reliability.md").read_text()
    starts = re.findall(r"^- (.+)$", contract, re.MULTILINE)
    starts += [re.search(r"^(Loading .+)$", contract, re.MULTILINE)[1], "Out of scope"]
    table = re.findall(r"^\| ([A-Z][^|]+) \| ([A-Z`][^|]*) \|$", record, re.MULTILINE)
    proofs = {start: proof for start, proof in table if any(s.startswith(start) for s in starts)}
    assert len(proofs) == len(starts) > 9
    functions = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for proof in proofs.values():
        assert all(name in MATRIX for name in re.findall(r"\b[A-Z]\d+\b", proof)), proof
        for name in re.findall(r"`(test_\w+)`", proof):
            assert f"def {name}(" in functions, name
