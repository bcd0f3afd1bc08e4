#!/usr/bin/env python
"""Write the reference of the commands in docs/command-line.md from their parsers.

python scripts/write_command_line.py            # writes
python scripts/write_command_line.py --check    # exit code 1 if the page differs
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from mlplab.cli import COMMANDS  # noqa: E402
from mlplab.commands.folder_arguments import COMMON_OPTIONS, Options  # noqa: E402
from mlplab.commands.parsers import options  # noqa: E402

PAGE = ROOT / "docs" / "command-line.md"
MARK = "<!-- From here on: scripts/write_command_line.py -->\n"


def reference() -> str:
    """Return the sections of all commands."""
    lines = ["", "## All commands", "", "Every command also has:", "", *table(COMMON_OPTIONS)]
    for name, command in COMMANDS.items():
        module, _, function = command.function.partition(":")
        meaning = getattr(import_module(module), function).__doc__ or ""
        lines += ["", f"### mlplab {command.usage}", "", *paragraphs(meaning), ""]
        lines += table(options(name))
    return "\n".join(lines).rstrip() + "\n"


def paragraphs(docstring: str) -> Iterator[str]:
    """Yield the paragraphs, a line each, without what concerns Python."""
    for i, paragraph in enumerate(re.split(r"\n\s*\n", docstring.strip())):
        text = re.sub(r"; return the exit code| Raises \w+.*| Return[s]? .*", "", paragraph)
        text = " ".join(text.split())
        if text:
            yield from ([""] if i else [])
            yield text


def table(arguments: Options) -> Iterator[str]:
    """Yield a table of arguments, with a line for each."""
    if not arguments:
        return
    yield from ("| argument | meaning |", "|---|---|")
    for names, settings in arguments.items():
        meaning = str(settings["help"]).replace("|", "\\|")
        yield f"| {label(names, settings)} | {meaning} |"


def label(names: str, settings: dict[str, object]) -> str:
    """Return an argument as it is typed, such as `-o, --out OUT`."""
    choices = settings.get("choices")
    value = settings.get("metavar") or ("\\|".join(choices) if choices else None)  # type: ignore
    if not names.startswith("-"):
        return f"`{value or names.upper()}`"
    takes_value = settings.get("action", "append") == "append"
    value = value or names.split()[0].lstrip("-").upper()
    shown = ", ".join(sorted(names.split(), key=len))
    return f"`{shown} {value}`" if takes_value else f"`{shown}`"


def main(check: bool) -> int:
    text = PAGE.read_text(encoding="utf-8")
    expected = text.partition(MARK)[0] + MARK + reference()
    if check:
        print(*([PAGE.relative_to(ROOT)] if text != expected else []))
        return int(text != expected)
    PAGE.write_text(expected, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] == ["--check"]))
