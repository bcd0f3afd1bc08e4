"""Observations about a table: printed before training and written to data_report.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataReport:
    """Notes on the file, one row per column, and the findings."""

    source: str
    notes: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    findings: tuple[Finding, ...]

    def to_markdown(self) -> str:
        """Return the text of data_report.md."""
        columns = ("| " + " | ".join(map(_cell, row)) + " |" for row in self.columns)
        findings = (
            f"- **{_cell(finding.column) or 'table'}**: {_cell(finding.observation)}."
            f" {_cell(finding.consequence)}."
            for finding in self.findings
        )
        lines = [
            f"# {self.source}",
            "",
            *(f"- {line}" for line in self.notes),
            "",
            "| column | kind | different | missing | range |",
            "|---|---|---|---|---|",
            *columns,
            "",
            "## Findings" if self.findings else "No other findings.",
            "",
            *findings,
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Finding:
    """An observation and its consequence; `column` is empty if it concerns the whole table."""

    column: str
    observation: str
    consequence: str


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
