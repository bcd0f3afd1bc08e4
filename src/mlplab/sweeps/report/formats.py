"""Tables of text as Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlplab.terminal.output import plain

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_NUMBERS = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?( \[\S+, \S+\])?")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; texts stay text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(markdown_text(str(cell)).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def markdown_text(text: str) -> str:
    """Return text on one line that Markdown does not take for HTML."""
    return plain(text).replace("<", "&lt;")


def latex_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a tabular of LaTeX with the rules of the package booktabs."""
    numeric = [
        all(_NUMBERS.fullmatch(row[i]) or row[i] in ("", "-") for row in rows)
        for i in range(len(head))
    ]
    body = [" & ".join(map(_latex_text, line)) + r" \\" for line in rows]
    return "\n".join(
        [
            "% \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{''.join('r' if is_number else 'l' for is_number in numeric)}}}",
            "\\toprule",
            " & ".join(map(_latex_text, head)) + r" \\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def _latex_text(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in plain(text))
    return re.sub(r"(?<![\w-])-(?=\d)", r"$-$", escaped)
