"""Rules about imports: their direction, cycles, names that shadow submodules, private names."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping

from source_tree import Offender, SourceTree, dotted, nodes, parse, short, walk


def table_mistakes(tree: SourceTree, may_import: Mapping[str, set[str]]) -> list[str]:
    """What is wrong with the table itself: it must name every unit, nothing else, lower units
    first, and each unit may import only from units above it in the table, so that no lawful import
    can run upward.
    """
    units = tree.units()
    mistakes = [f"no entry for {unit}" for unit in sorted(units - set(may_import))]
    mistakes += [f"stale entry for {unit}" for unit in may_import if unit not in units]
    lower: set[str] = set()
    for unit, allowed in may_import.items():
        mistakes += [
            f"{unit} may import {other}, which does not exist"
            if other not in units
            else f"{unit} may import {other}, which is not lower in the table"
            for other in sorted(allowed - lower)
        ]
        lower.add(unit)
    return mistakes


def forbidden_imports(tree: SourceTree, may_import: Mapping[str, set[str]]) -> list[Offender]:
    """Imports that the table does not allow."""
    offenders = {}
    for edge in tree.imports:
        importer, imported = tree.unit(edge.importer), tree.unit(edge.imported)
        if importer != imported and imported not in may_import.get(importer, set()):
            key = f"{short(edge.importer)} -> {short(edge.imported)}"
            location = tree.location(edge.importer, edge.line)
            offenders.setdefault(key, Offender(key, location, edge.kind))
    return list(offenders.values())


def package_cycles(tree: SourceTree) -> list[Offender]:
    """Imports among units that import each other, directly or through others."""
    graph = defaultdict(set)
    for edge in tree.imports:
        graph[tree.unit(edge.importer)].add(tree.unit(edge.imported))
    return _within_cycles(graph)


def module_cycles(tree: SourceTree) -> list[Offender]:
    """Imports among modules of one package that import each other, directly or through others."""
    graph = defaultdict(set)
    for edge in tree.imports:
        if edge.importer.split(".")[:2] == edge.imported.split(".")[:2]:
            graph[short(edge.importer)].add(short(edge.imported))
    return _within_cycles(graph)


def _within_cycles(graph: Mapping[str, set[str]]) -> list[Offender]:
    """The edges of all cycles. A new cycle among nodes of a known one has a new edge, and a cycle
    that is opened in part has fewer.
    """
    return [
        Offender(f"{node} -> {other}", " <-> ".join(cycle))
        for cycle in cycles(graph)
        for node in cycle
        for other in sorted(graph[node] & set(cycle) - {node})
    ]


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node, sorted. A node's edge to itself does
    not count.
    """
    reach = {node: _reachable(graph, node) for node in graph}
    components = {
        tuple(sorted(other for other in reach[node] if node in reach.get(other, ())))
        for node in graph
    }
    return [list(component) for component in sorted(components) if len(component) > 1]


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    pending = [start]
    while pending:
        new = graph.get(pending.pop(), set()) - reached
        reached |= new
        pending += new
    return reached


def shadowed_submodules(tree: SourceTree) -> list[Offender]:
    """Names that a package's `__init__` binds to something else than the submodule so named."""
    return [
        Offender(short(f"{package}.{name}"), tree.location(package, line))
        for package in tree.modules
        if tree.is_package(package)
        for name, line in _bound_names(tree, package)
        if name in tree.submodules(package)
    ]


def _bound_names(tree: SourceTree, package: str) -> Iterator[tuple[str, int]]:
    """(name, line) of what the top level of an `__init__` binds, without submodules imported as
    themselves.
    """
    for node in _top_level(parse(tree.modules[package]).body):
        if isinstance(node, ast.ImportFrom):
            base = tree.base(package, node)
            for alias in node.names:
                name = alias.asname or alias.name
                if f"{base}.{alias.name}" != f"{package}.{name}":
                    yield name, node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
            if node.name == "__getattr__":
                yield from _lazy_names(tree, package)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in walk(target):
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                        yield name.id, node.lineno


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, those in `if`, `try` and `with` too."""
    for node in body:
        yield node
        for block in ("body", "orelse", "finalbody"):
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.For)):
                yield from _top_level(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from _top_level(handler.body)


def _lazy_names(tree: SourceTree, package: str) -> Iterator[tuple[str, int]]:
    """Names that a module-level `__getattr__` may provide: the strings in its body, the keys of
    top-level dictionaries and what `__all__` lists without binding it.
    """
    for node in parse(tree.modules[package]).body:
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            strings: list[ast.AST] = walk(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            strings = [key for key in node.value.keys if key is not None]
        elif isinstance(node, ast.Assign) and dotted(node.targets[0]) == "__all__":
            strings = walk(node.value)
        else:
            continue
        for string in strings:
            if isinstance(string, ast.Constant) and isinstance(string.value, str):
                yield string.value, string.lineno


def private_imports(tree: SourceTree) -> list[Offender]:
    """Underscored names that a module takes from another package, imported or as attributes."""
    offenders = {}
    for module in tree.modules:
        for target, line in _private_names(tree, module):
            if _owner(target) != module.split(".")[: len(_owner(target))]:
                key = f"{short(module)} -> {short(target)}"
                offenders.setdefault(key, Offender(key, tree.location(module, line)))
    return list(offenders.values())


def _private_names(tree: SourceTree, module: str) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of every private name of the tree that a module uses."""
    local_names = {}
    for base, name, alias, line in tree.imported_names(module):
        if base.split(".")[0] not in tree.top_levels:
            continue
        target = f"{base}.{name}" if name else base
        if any(_is_private(component) for component in target.split(".")):
            yield target, line
        local_names[alias.asname or name or base.split(".")[0]] = (
            target if name or alias.asname else base.split(".")[0]
        )
    for node in nodes(tree.modules[module]):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            first, _, rest = dotted(node).partition(".")
            if first in local_names:
                yield f"{local_names[first]}.{rest}", node.lineno


def _owner(target: str) -> list[str]:
    """The package whose modules may use a private name: one directly below the top level, or the
    top level itself.
    """
    components = target.split(".")
    private = next(i for i, component in enumerate(components) if _is_private(component))
    return components[: min(private, 2)]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")
