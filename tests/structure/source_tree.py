"""A folder of Python sources, parsed once: modules, packages, and who imports what."""

from __future__ import annotations

import ast
import functools
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
MAIN_PACKAGE = "mlplab"


@dataclass(frozen=True)
class Offender:
    """A violation of a rule. The key identifies it in known_violations.yaml, so it has no line
    number in it.
    """

    key: str
    location: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.location}: {self.key}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class Import:
    """One import statement's edge from a module to another module of the tree."""

    importer: str
    imported: str
    line: int
    kind: str  # "top", "lazy" (inside a function) or "types" (under TYPE_CHECKING)


def parse(path: Path) -> ast.Module:
    return nodes(path)[0]


def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file, the module first; walking a tree costs as much as parsing it."""
    return _nodes(path.read_text(encoding="utf-8"))


@functools.cache
def _nodes(text: str) -> tuple[ast.AST, ...]:
    enabled = gc.isenabled()
    gc.disable()  # nothing here is garbage, and collections would take half of the time
    try:
        return tuple(walk(ast.parse(text)))
    finally:
        if enabled:
            gc.enable()


def walk(root: ast.AST) -> list[ast.AST]:
    """A node and all nodes below it, like ast.walk, but without the Load and Store of each name,
    which are a third of the nodes.
    """
    below = [root]
    for node in below:  # which grows meanwhile
        for value in vars(node).values():
            if isinstance(value, list):
                below += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                below.append(value)
    return below


class SourceTree:
    """The modules below a source folder such as src/, by dotted name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules = {_module_name(path, root): path for path in sorted(root.rglob("*.py"))}
        self.top_levels = {module.split(".")[0] for module in self.modules}

    def is_package(self, module: str) -> bool:
        return self.modules[module].name == "__init__.py"

    def unit(self, module: str) -> str:
        """What has an entry in the import table: the (sub-)package of a module, or a module that
        lies directly below the top level. `mlplab.` is left out.
        """
        package = module if self.is_package(module) else module.rpartition(".")[0]
        if module == MAIN_PACKAGE:
            return "__init__"
        return short(package if "." in package else module)

    def units(self) -> set[str]:
        return {self.unit(module) for module in self.modules}

    def submodules(self, package: str) -> set[str]:
        """Names of the modules and packages directly below a package."""
        start = f"{package}."
        return {
            module.removeprefix(start).split(".")[0]
            for module in self.modules
            if module.startswith(start)
        }

    def location(self, module: str, line: int) -> str:
        return f"{self.modules[module].relative_to(self.root)}:{line}"

    @functools.cached_property
    def imports(self) -> list[Import]:
        return [
            Import(module, imported, node.lineno, kind)
            for module, path in self.modules.items()
            for node, kind in _imports(path)
            for imported in dict.fromkeys(self._imported(module, node))
        ]

    def imported_names(self, module: str) -> Iterator[tuple[str, str, ast.alias, int]]:
        """(module that is imported from, name in it or "", alias, line) of each imported name."""
        for node in nodes(self.modules[module]):
            if isinstance(node, ast.ImportFrom):
                base = self.base(module, node)
                for alias in node.names:
                    yield base, alias.name, alias, node.lineno
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, "", alias, node.lineno

    def base(self, module: str, node: ast.ImportFrom) -> str:
        """The absolute name of the module that `from ... import` names."""
        if not node.level:
            return node.module or ""
        components = module.split(".")
        num_kept = len(components) - node.level + (1 if self.is_package(module) else 0)
        return ".".join([*components[:num_kept], *([node.module] if node.module else [])])

    def existing(self, name: str) -> str | None:
        """The longest prefix of a dotted name that is a module of the tree."""
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        return name or None

    def _imported(self, module: str, node: ast.stmt | ast.Call) -> Iterator[str]:
        if isinstance(node, ast.ImportFrom):
            base = self.base(module, node)
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:  # import_module("mlplab.x")
            names = [node.args[0].value]
        for name in names:
            if name.split(".")[0] in self.top_levels and (target := self.existing(name)):
                yield target


def short(name: str) -> str:
    return name.removeprefix(f"{MAIN_PACKAGE}.")


def _module_name(path: Path, root: Path) -> str:
    components = path.relative_to(root).with_suffix("").parts
    return ".".join(components[:-1] if components[-1] == "__init__" else components)


def _imports(path: Path) -> Iterator[tuple[ast.stmt | ast.Call, str]]:
    """Every import statement with its kind; a call of import_module with a literal name is one."""
    lazy, types = [], []
    statements: list[ast.stmt | ast.Call] = []
    for node in nodes(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lazy.append(range(node.lineno, (node.end_lineno or 0) + 1))
        elif isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING"):
            types.append(range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1))
        elif isinstance(node, (ast.Import, ast.ImportFrom)) or (
            isinstance(node, ast.Call) and _imports_by_name(node)
        ):
            statements.append(node)
    for node in statements:
        if any(node.lineno in lines for lines in types):
            yield node, "types"
        else:
            yield node, "lazy" if any(node.lineno in lines for lines in lazy) else "top"


def _imports_by_name(call: ast.Call) -> bool:
    return (
        dotted(call.func).split(".")[-1] == "import_module"
        and len(call.args) == 1
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    )


def dotted(node: ast.AST) -> str:
    """`a.b.c` of nested attributes of a name, else ""."""
    components = []
    while isinstance(node, ast.Attribute):
        components.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(components)]) if isinstance(node, ast.Name) else ""


def import_aliases(path: Path) -> dict[str, str]:
    """Local name -> absolute dotted name, for every absolute import of a file."""
    aliases = {}
    for node in nodes(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                aliases[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return aliases


def resolve(node: ast.AST, aliases: dict[str, str]) -> str:
    """The absolute dotted name that an expression refers to, as far as imports tell."""
    first, separator, rest = dotted(node).partition(".")
    return aliases.get(first, first) + separator + rest
