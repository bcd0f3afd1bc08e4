"""Rules that one file keeps or breaks on its own: sizes, formatter directives, unsafe calls."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from source_tree import Offender, dotted, import_aliases, nodes, resolve

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
UNSAFE_NAMES = {
    "dill.load",
    "dill.loads",
    "eval",
    "exec",
    "hydra.utils.call",
    "hydra.utils.get_class",
    "hydra.utils.get_method",
    "hydra.utils.get_object",
    "hydra.utils.instantiate",
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "os.popen",
    "os.system",
    "pandas.read_pickle",
    "pickle.Unpickler",
    "pickle.load",
    "pickle.loads",
    "shelve.open",
    "yaml.full_load",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
}
UNSAFE_ARGUMENTS = {("weights_only", False), ("allow_pickle", True), ("shell", True)}


def python_files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def oversized(paths: Iterable[Path], root: Path) -> list[Offender]:
    """Modules and functions of more lines than the ceilings; decorators do not count."""
    return [
        offender for path in paths for offender in _oversized(path, str(path.relative_to(root)))
    ]


def _oversized(path: Path, name: str) -> Iterator[Offender]:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > MAX_MODULE_LINES:
        yield Offender(name, f"{name}:1", f"{lines} lines, at most {MAX_MODULE_LINES}")
    for node in nodes(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                detail = f"{lines} lines, at most {MAX_FUNCTION_LINES}"
                yield Offender(f"{name}::{node.name}", f"{name}:{node.lineno}", detail)


def formatter_directives(paths: Iterable[Path], root: Path) -> list[Offender]:
    """Comments that switch the formatter off."""
    offenders = []
    for path in paths:
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(root))
        if "fmt:" not in text:
            continue
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and re.search(r"fmt:\s*(off|skip)", token.string):
                offenders.append(Offender(name, f"{name}:{token.start[0]}", token.string))
    return offenders


def unsafe_calls(paths: Iterable[Path], root: Path) -> list[Offender]:
    """Uses of functions that run what a file says, or of `cfg.get`, which hides a missing key."""
    offenders = []
    for path in paths:
        aliases, name = import_aliases(path), str(path.relative_to(root))
        for node in nodes(path):
            for violation in _unsafe(node, aliases):
                offenders.append(Offender(f"{name}: {violation}", f"{name}:{node.lineno}"))
    return offenders


def _unsafe(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if (keyword.arg, value) in UNSAFE_ARGUMENTS:
                yield f"{keyword.arg}={value}"
        if re.search(r"cfg\.get$", dotted(node.func)):
            yield dotted(node.func)
    if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
        full = resolve(node, aliases)
        if full in UNSAFE_NAMES:
            yield full
