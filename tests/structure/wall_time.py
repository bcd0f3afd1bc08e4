"""Assertions on how long something takes: they fail on a busy machine and prove little elsewhere.

Within one outermost function, with its nested functions, names that hold a clock reading or what is
computed from one are followed through assignments, loops and helper functions of the same module.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from source_tree import Offender, dotted, import_aliases, parse, resolve, walk

CLOCKS = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "os.times",
    "resource.getrusage",
    *(
        f"time.{clock}{suffix}"
        for clock in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
        for suffix in ("", "_ns")
    ),
    "timeit.default_timer",
    "timeit.repeat",
    "timeit.timeit",
    "timing.cheapest",
    "cheapest",
}
# Functions whose result is a time where an argument is one.
PASS_ON = re.compile(
    r"(abs|all|any|dict|divmod|enumerate|filter|float|int|iter|list|max|min|next|pow|reversed|round"
    r"|set|sorted|str|sum|tuple|zip|(np|numpy|math|statistics|torch|pytest|datetime)\..*)$"
)
TIME_NAME = re.compile(r"(.*_)?(seconds|elapsed|duration)$")
MENTIONS_TIME = re.compile(r"time|cheapest|given|getrusage|seconds|elapsed|duration")
# A deadline in the first bounds a hang and nothing else; the second is the limit of every test,
# which grows with what a reference costs at the moment.
EXEMPT = ("wait_for", "_cpu_limit")
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BINDINGS = (
    *(ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr),
    *(ast.For, ast.AsyncFor, ast.withitem, ast.Call),
)


def wall_time_assertions(paths: Iterable[Path], root: Path) -> list[Offender]:
    """Every assertion on seconds outside `wait_for` and tests that only the campaign runs."""
    return [
        offender
        for path in paths
        for offender in _Module(path, str(path.relative_to(root))).check()
    ]


class _Module:
    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.aliases = import_aliases(path)
        # Attributes such as self.took and names of the module's top level, which functions share.
        self.attributes: set[str] = set()
        self.global_names: set[str] = set()
        # Function name -> whether its result holds a time, or that for each element of a tuple.
        self.helpers: dict[str, list[bool]] = {}

    def check(self) -> Iterator[Offender]:
        if not MENTIONS_TIME.search(self.path.read_text(encoding="utf-8")):
            return
        tree = parse(self.path)
        if _only_in_campaign(_module_marks(tree)):
            return
        scopes = [_Scope(self, "<module>", _without_inner_functions(tree), exempt=False)]
        scopes += [
            _Scope(self, name, walk(function), exempt)
            for name, function, exempt in _outermost(tree.body)
        ]
        # Helpers, globals and attributes may be defined below their use.
        size = -1
        while size != (size := self._size()):
            for scope in scopes:
                scope.propagate()
            self.global_names |= scopes[0].names
        for scope in scopes:
            if not scope.exempt:
                yield from scope.offenders()
                yield from scope.default_deadlines()

    def _size(self) -> int:
        results = sum(map(sum, self.helpers.values()))
        return len(self.attributes) + len(self.global_names) + len(self.helpers) + results


class _Scope:
    """An outermost function or method with everything inside it, or the rest of the module."""

    def __init__(self, module: _Module, name: str, body: list[ast.AST], exempt: bool) -> None:
        self.module, self.name, self.body, self.exempt = module, name, body, exempt
        self.names: set[str] = set()
        self.clock_names: set[str] = set()  # clock = time.monotonic
        self.bindings = [node for node in body if isinstance(node, BINDINGS)]
        self.results = [
            (function.name, node.value)
            for function in body
            if isinstance(function, FUNCTIONS)
            for node in _without_inner_functions(function)
            if isinstance(node, (ast.Return, ast.Yield)) and node.value is not None
        ]

    def propagate(self) -> None:
        size = -1
        while size != (size := len(self.names) + len(self.clock_names) + self.module._size()):
            for node in self.bindings:
                self._visit(node)
            for name, value in self.results:
                self._note_helper(name, value)

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value)
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)):
            if node.value is not None:
                self._assign(node.target, node.value)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            if self.is_time(node.iter):
                self._mark(node.target)
        elif isinstance(node, ast.withitem):
            if node.optional_vars is not None and self.is_time(node.context_expr):
                self._mark(node.optional_vars)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            fills = node.func.attr in ("add", "append", "extend", "insert", "setdefault", "update")
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if fills and any(map(self.is_time, arguments)):
                self._mark(node.func.value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            elements = getattr(value, "elts", None)
            if elements is not None and len(elements) == len(target.elts):
                for inner, element in zip(target.elts, elements, strict=True):
                    self._assign(inner, element)
                return
            results = self._helper_results(value)
            if len(results) == len(target.elts):
                for inner, is_time in zip(target.elts, results, strict=True):
                    if is_time:
                        self._mark(inner)
                return
        if isinstance(target, ast.Name) and self._is_clock(value):
            self.clock_names.add(target.id)
        if isinstance(target, ast.Name) and isinstance(value, ast.Lambda):
            if self.is_time(value.body):
                self.module.helpers[target.id] = [True]
        elif self.is_time(value):
            self._mark(target)

    def _mark(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.names.add(target.id)
        elif isinstance(target, ast.Attribute):
            self.module.attributes.add(dotted(target))
        elif isinstance(target, (ast.Subscript, ast.Starred)):
            self._mark(target.value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for inner in target.elts:
                self._mark(inner)

    def _note_helper(self, name: str, value: ast.expr) -> None:
        elements = value.elts if isinstance(value, ast.Tuple) else [value]
        results = [self.is_time(element) for element in elements]
        if any(results):
            self.module.helpers[name] = results

    def _helper_results(self, value: ast.expr) -> list[bool]:
        if isinstance(value, ast.Call):
            return self.module.helpers.get(dotted(value.func).split(".")[-1], [])
        return []

    def _is_clock(self, function: ast.expr) -> bool:
        name = dotted(function)
        return name in self.clock_names or resolve(function, self.module.aliases) in CLOCKS

    def is_time(self, node: ast.AST, names: frozenset[str] = frozenset()) -> bool:
        """Whether an expression holds a clock reading or what is computed from one; `names` are
        those of enclosing comprehensions that do.
        """
        if isinstance(node, ast.Name):
            return node.id in names or node.id in self.names | self.module.global_names
        if isinstance(node, ast.Attribute):
            if node.attr.startswith("ru_") and node.attr not in ("ru_utime", "ru_stime"):
                return False  # memory and page faults
            return dotted(node) in self.module.attributes or self.is_time(node.value, names)
        if isinstance(node, ast.Call):
            return self._call_is_time(node, names)
        if isinstance(node, ast.Lambda):
            return False
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            for generator in node.generators:
                if self.is_time(generator.iter, names):
                    targets = walk(generator.target)
                    names |= {name.id for name in targets if isinstance(name, ast.Name)}
            values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            return any(self.is_time(value, names) for value in values)
        return any(
            self.is_time(child, names)
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.expr)
        )

    def _call_is_time(self, call: ast.Call, names: frozenset[str]) -> bool:
        if self._is_clock(call.func) or any(self._helper_results(call)):
            return True
        if PASS_ON.match(dotted(call.func)):
            arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
            return any(self.is_time(argument, names) for argument in arguments)
        return isinstance(call.func, ast.Attribute) and self.is_time(call.func.value, names)

    def offenders(self) -> Iterator[Offender]:
        for node, condition in self._assertions():
            if self.bounds_time(condition):
                location = f"{self.module.name}:{node.lineno}"
                yield Offender(
                    f"{self.module.name}::{self.name}", location, ast.unparse(condition)[:100]
                )

    def default_deadlines(self) -> Iterator[Offender]:
        """Hypothesis tests without deadline=None, which fail where an example takes 200 ms."""
        for node in self.body:
            if not isinstance(node, FUNCTIONS):
                continue
            calls = [each for each in node.decorator_list if isinstance(each, ast.Call)]
            given = any(dotted(call.func).split(".")[-1] == "given" for call in calls)
            if given and not any(map(_has_no_deadline, calls)):
                location = f"{self.module.name}:{node.lineno}"
                yield Offender(f"{self.module.name}::{self.name}", location, "no deadline=None")

    def _assertions(self) -> Iterator[tuple[ast.stmt | ast.expr, ast.expr]]:
        """Each assertion with the expression that decides it."""
        for node in self.body:
            if isinstance(node, ast.Assert) or (
                isinstance(node, ast.If) and any(map(_fails, node.body))
            ):
                yield node, node.test
            elif isinstance(node, ast.Call):
                name = dotted(node.func).split(".")[-1]
                if name.startswith("assert"):
                    for argument in node.args:
                        yield node, argument

    def bounds_time(self, condition: ast.expr) -> bool:
        if isinstance(condition, ast.BoolOp):
            return any(map(self.bounds_time, condition.values))
        if isinstance(condition, ast.Compare):
            operands = [condition.left, *condition.comparators]
            if _is_sign_check(operands):
                return False
            ordered = any(isinstance(operator, ORDER) for operator in condition.ops)
            if ordered and any(map(_names_a_time, operands)):
                return True
        if self.is_time(condition):
            return True
        return any(
            self.bounds_time(child)
            for child in walk(condition)
            if isinstance(child, ast.Compare) and child is not condition
        )


def _is_sign_check(operands: list[ast.expr]) -> bool:
    """`seconds >= 0` holds on a machine of any speed."""
    left, right = operands[0], operands[-1]
    zeros = [isinstance(side, ast.Constant) and side.value == 0 for side in (left, right)]
    other = left if zeros[1] else right
    plain = isinstance(other, (ast.Name, ast.Attribute, ast.Subscript))
    return len(operands) == 2 and any(zeros) and plain


def _names_a_time(operand: ast.expr) -> bool:
    """Whether an operand is, or computes with, something called seconds or elapsed."""
    if isinstance(operand, ast.Name):
        return bool(TIME_NAME.match(operand.id))
    if isinstance(operand, ast.Attribute):
        return bool(TIME_NAME.match(operand.attr)) or _names_a_time(operand.value)
    if isinstance(operand, ast.Subscript):
        key = operand.slice.value if isinstance(operand.slice, ast.Constant) else None
        named = isinstance(key, str) and bool(TIME_NAME.match(key))
        return named or _names_a_time(operand.value)
    if isinstance(operand, ast.Call):
        inner = [*operand.args, operand.func] if PASS_ON.match(dotted(operand.func)) else []
        return any(map(_names_a_time, inner))
    if isinstance(operand, (ast.BinOp, ast.UnaryOp)):
        return any(map(_names_a_time, ast.iter_child_nodes(operand)))
    return False


def _has_no_deadline(call: ast.Call) -> bool:
    return any(
        keyword.arg == "deadline"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is None
        for keyword in call.keywords
    )


def _fails(statement: ast.stmt) -> bool:
    """Whether a statement fails the test: pytest.fail(...) or raise AssertionError."""
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return dotted(raised) == "AssertionError"
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and dotted(statement.value.func) in ("pytest.fail", "fail")
    )


def _outermost(
    body: list[ast.AST], prefix: str = "", exempt: bool = False
) -> Iterator[tuple[str, ast.AST, bool]]:
    """(name, function, whether it is exempt) of functions and methods."""
    for node in body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            excused = exempt or _only_in_campaign(node.decorator_list)
            if isinstance(node, ast.ClassDef):
                yield from _outermost(node.body, f"{prefix}{node.name}.", excused)
            else:
                yield f"{prefix}{node.name}", node, excused or node.name in EXEMPT
        else:  # functions that are defined under a condition
            children = ast.iter_child_nodes(node)
            inner = [
                child for child in children if isinstance(child, (ast.stmt, ast.excepthandler))
            ]
            yield from _outermost(inner, prefix, exempt)


def _without_inner_functions(root: ast.AST) -> list[ast.AST]:
    """The nodes of a module or function, without those of the functions defined in it."""
    inside: list[ast.AST] = []
    pending = [root]
    while pending:
        node = pending.pop()
        inside.append(node)
        children = ast.iter_child_nodes(node)
        pending += [child for child in children if not isinstance(child, FUNCTIONS)]
    return inside


def _module_marks(tree: ast.Module) -> list[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) == "pytestmark":
            return getattr(node.value, "elts", [node.value])
    return []


def _only_in_campaign(marks: list[ast.expr]) -> bool:
    """Whether one of them is pytest.mark.campaign(...), without small=True."""
    return any(
        isinstance(mark, ast.Call)
        and dotted(mark.func).endswith("mark.campaign")
        and not mark.keywords
        for mark in marks
    )
