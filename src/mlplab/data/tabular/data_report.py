"""What was noticed about a table: printed before training and written into data_report.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class DataReport:
    """Lines about the file, a row a column, and the findings."""

    source: str
    told: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    findings: tuple[Finding, ...]

    def to_markdown(self) -> str:
        """data_report.md."""
        lines = [
            f"# {self.source}",
            "",
            *(f"- {line}" for line in self.told),
            "",
            "| column | kind | different | missing | range |",
            "|---|---|---|---|---|",
        ]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in self.columns]
        lines += [
            "",
            "## Worth knowing" if self.findings else "Nothing else worth knowing was found.",
            "",
        ]
        lines += [
            f"- **{_cell(finding.column) or 'table'}**: {_cell(finding.what)}."
            f" {_cell(finding.done)}."
            for finding in self.findings
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Finding:
    """Something to know. `column` is empty for what concerns the whole table."""

    column: str
    what: str
    done: str


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
