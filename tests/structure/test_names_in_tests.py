"""Names that tests use exist, in tests that run rarely too: a campaign test fails after hours, and
only when somebody runs it.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from source_tree import nodes, walk

from mlplab.cli import COMMANDS

TESTS = Path(__file__).parents[1]
DOTTED = re.compile(r"mlplab(\.\w+)+")
COMMAND = re.compile(r"[a-z]+(-[a-z]+)*")
RUNNERS = {
    "mlplab.cli": {"main"},
    "cli_process": {"run", "start", "python_command"},
    "harness": {"run", "start", "python_command", "refused"},
}
"""Functions that run a command line, by the modules from which they are imported."""

Nodes = Sequence[ast.AST]


def imports(file: Nodes) -> list[tuple[str, str, str]]:
    """(module, name, local name) of each `from module import name`."""
    return [
        (node.module, alias.name, alias.asname or alias.name)
        for node in file
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    ]


def value_of(dotted: str) -> object:
    """A module, or an attribute of one; None if there is none."""
    names = dotted.split(".")
    for length in range(len(names), 0, -1):
        try:
            value: object = importlib.import_module(".".join(names[:length]))
        except ModuleNotFoundError:
            continue
        for name in names[length:]:
            value = getattr(value, name, None)
        return value
    return None


def imported_modules(file: Nodes) -> dict[str, ModuleType]:
    """Modules of mlplab by the names under which a file imports them and that nothing hides."""
    values = {
        local: value_of(f"{module}.{name}")
        for module, name, local in imports(file)
        if module.split(".")[0] == "mlplab"
    }
    hidden = {node.arg for node in file if isinstance(node, ast.arg)} | {
        node.id for node in file if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, ModuleType) and name not in hidden
    }


def missing_names(file: Nodes) -> list[str]:
    """What a file reads from modules of mlplab, or patches in them, that they do not have."""
    modules, used = imported_modules(file), []
    for node in file:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.append((node, node.value.id, node.attr))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first, *others = node.args
            if node.func.attr not in ("setattr", "delattr", "import_module"):
                continue
            if isinstance(first, ast.Name) and others and isinstance(others[0], ast.Constant):
                used.append((node, first.id, str(others[0].value)))
            elif isinstance(first, ast.Constant) and DOTTED.fullmatch(str(first.value)):
                used.append((node, "", first.value))
    return [
        f"line {node.lineno}: {name}"
        for node, module, name in used
        if (value_of(name) is None if not module else module in modules)
        and not (module and hasattr(modules[module], name))
    ]


def unknown_commands(file: Nodes) -> list[str]:
    """Commands of the command line that a file runs and that do not exist."""
    runners = {local for module, name, local in imports(file) if name in RUNNERS.get(module, ())}
    unknown = []
    for node in file:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            first = node.args[0]
            if isinstance(first, ast.List) and first.elts:
                first = first.elts[0]
            command = first.value if isinstance(first, ast.Constant) else None
            if node.func.id in runners and COMMAND.fullmatch(str(command or "")):
                unknown += [f"line {node.lineno}: {command}"] if command not in COMMANDS else []
    return unknown


def test_names_and_commands_in_tests_exist():
    faults = []
    for path in sorted(TESTS.rglob("*.py")):
        file = nodes(path)
        for fault in (*missing_names(file), *unknown_commands(file)):
            faults.append(f"{path.relative_to(TESTS)}, {fault}")
    assert faults == []


def test_the_rules_find_what_is_stale():
    stale = walk(
        ast.parse(
            "from mlplab.cli import main\nfrom mlplab.sweeps.plan import memory\n"
            "memory.available(memory.gone)\n"
            "monkeypatch.setattr('mlplab.sweeps.plan.memory.lost', 1)\n"
            "monkeypatch.setattr('mlplab.sweeps.plan.memory.available', 1)\n"
            "monkeypatch.setattr(memory, 'away', 1)\n"
            "main(['tarin', 'x=1'])\nmain(['train'])\n"
        )
    )
    names = {name.rpartition(" ")[2].rpartition(".")[2] for name in missing_names(stale)}
    assert names == {"away", "gone", "lost"}
    assert unknown_commands(stale) == ["line 7: tarin"]
