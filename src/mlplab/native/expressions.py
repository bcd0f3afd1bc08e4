"""The values of a traced graph as expressions of C.

A value of a graph is of one of four kinds, told apart by the sizes of its dimensions:

    literal    a number of the graph
    scalar     one number for all lanes: computed in double before the loops, as torch computes it
    lane       one number per lane
    row        one number per lane and row (losses only): a row is a class, or a target

A tensor with several numbers for each row, such as the outputs of gaussian_nll, is a tuple of rows.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch.fx import Node

from mlplab.native import operations
from mlplab.native.tracing import LANES, UNITS, Trace, UntraceableError

_KINDS = ("literal", "scalar", "lane", "row")
_TYPES = {
    torch.float32: "T",
    torch.float64: "double",
    torch.int64: "int",
    torch.bool: "int",
}


@dataclass(eq=False)
class Value:
    """A value of the graph. `array` is its C array, if it has one.

    The rows of one that is the second in a tuple start `offset` times the number of rows later.
    """

    kind: str
    ctype: str
    name: str
    array: str = ""
    form: str = ""  # how it is computed from its operands
    operands: tuple[Value, ...] = ()
    reduction: str = ""  # over the rows: sum, max or the form of a gather
    level: int = 0
    offset: int = 0

    @property
    def ready(self) -> int:
        """The first level at which the value can be used."""
        return self.level + 1 if self.reduction else self.level


Values: TypeAlias = Value | tuple[Value, ...]


@dataclass
class Expressions:
    """The values of one trace. `outputs` are those of the trace's outputs.

    `num_rows` is the number of rows in the trace, -1 if it has none; the literals of `row_literals`
    are that number and so many more, as comparing two traces has shown.
    """

    trace: Trace
    num_rows: int = -1
    row_literals: Mapping[tuple[int, int] | None, int] = field(default_factory=dict)
    integers: frozenset[str] = frozenset()  # inputs that are classes: integers from 0
    values: list[Value] = field(default_factory=list)
    outputs: dict[str, tuple[Value, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_node: dict[Node, Values] = {}
        self._by_text: dict[object, Value] = {}
        self._names = (f"v{number}" for number in itertools.count())
        inputs = iter(self.trace.inputs)
        for index, node in enumerate(self.trace.graph.graph.nodes):
            if node.op == "placeholder":
                self._by_node[node] = self._input(next(inputs), node)
            elif node.op == "call_function":
                self._by_node[node] = self._call(index, node)
            elif node.op == "output":
                for name, output in zip(self.trace.outputs, node.args[0], strict=True):
                    if name is not None:
                        value = self._by_node[output]
                        self.outputs[name] = value if isinstance(value, tuple) else (value,)
            else:
                raise UntraceableError("a tensor of its own")

    def _numbers_per_row(self, node: Node) -> int:
        """How many numbers a tensor has for each row; 0 if it has no rows."""
        last = node.meta["val"].shape[-1] if node.meta["val"].ndim else 1
        return last // self.num_rows if self.num_rows > 0 and last % self.num_rows == 0 else 0

    def _input(self, name: str, node: Node) -> Values:
        shape, ctype = node.meta["val"].shape, _TYPES[node.meta["val"].dtype]
        if count := self._numbers_per_row(node):
            rows = [Value("row", ctype, name, array=name, offset=i) for i in range(count)]
            return rows[0] if count == 1 else tuple(rows)
        if LANES not in shape:
            return Value("scalar", "double", name)
        return Value("lane", ctype, name, array=name)

    def _call(self, index: int, node: Node) -> Values:
        if node.target is operator.getitem:
            source = self._by_node[node.args[0]]  # type: ignore[index]
            assert isinstance(source, tuple)
            return source[node.args[1]]  # type: ignore[index]
        name = node.target._schema.name.split("::")[1].removesuffix("_copy")  # type: ignore[union-attr]
        overwrites = name.endswith("_") and not name.startswith("_")
        name = name.removesuffix("_") if overwrites else name
        if further := node.kwargs.keys() - operations.KEYWORDS:
            raise UntraceableError(f"the operation {name} with {', '.join(sorted(further))}")
        value = self._structure(name, node)
        if value is None and not isinstance(node.meta["val"], torch.Tensor):  # several results
            raise UntraceableError(f"the operation {name}")
        value = value or self._by_number(index, name, node)
        if overwrites:  # from here on, the argument has the new value
            self._by_node[node.args[0]] = value  # type: ignore[index]
        return value

    def _structure(self, name: str, node: Node) -> Values | None:
        """The value of an operation that computes nothing, else None."""
        if name in operations.VIEWS or name == "copy":  # into an argument: the value is the second
            return self._by_node[node.args[name == "copy"]]  # type: ignore[index]
        if name in operations.FILLS:
            return self._literal(node.args[operations.FILLS[name]], self._ctype(node))
        if name == "arange":
            return self._index(node)
        if name in ("split", "split_with_sizes"):
            source, sizes = self._by_node[node.args[0]], node.args[1]  # type: ignore[index]
            if isinstance(source, tuple) and sizes in (
                self.num_rows,
                [self.num_rows] * len(source),
            ):
                return source
        if name == "cat" and all(self._numbers_per_row(n) == 1 for n in node.args[0]):  # type: ignore[union-attr, arg-type]
            return tuple(
                self._as_row(self._by_node[n], self._ctype(n))  # type: ignore[index, arg-type]
                for n in node.args[0]  # type: ignore[union-attr]
            )
        return None

    def _ctype(self, node: Node) -> str:
        if (dtype := node.meta["val"].dtype) not in _TYPES:
            raise UntraceableError(f"numbers of the type {dtype}")
        is_scalar = not {LANES, UNITS, self.num_rows} & set(node.meta["val"].shape)
        # such as the number of the step, which may be large
        return "double" if dtype == torch.int64 and is_scalar else _TYPES[dtype]

    def _as_row(self, value: Values, ctype: str) -> Value:
        assert isinstance(value, Value)
        return value if value.kind == "row" else self._new("row", ctype, "{}", [value])

    def _index(self, node: Node) -> Value:
        """The number of a row, or of a unit of the layer, whose lanes follow one another."""
        start, end, step = {1: (0, *node.args, 1), 2: (*node.args, 1)}.get(
            len(node.args), node.args
        )
        if (start, step) == (0, 1) and self._ctype(node) == "int":
            if end == UNITS:
                return self._new("lane", "int", "i / LANE", [])
            if end == self.num_rows:
                return self._new("row", "int", "c", [])
        raise UntraceableError("the operation arange, but for the numbers of units or classes")

    def _by_number(self, index: int, name: str, node: Node) -> Values:
        """The value of an operation, one by one if it has several numbers for each row."""
        ctype = self._ctype(node)
        operands: list[Values] = [
            self._by_node[argument]
            if isinstance(argument, Node)
            else self._literal(argument, ctype, (index, position))
            for position, argument in enumerate(node.args)
            if not isinstance(argument, (list, bool, torch.dtype))
        ]
        count = max((len(o) for o in operands if isinstance(o, tuple)), default=0)
        if not count:
            return self._operation(name, node, ctype, operands)  # type: ignore[arg-type]
        if name not in operations.FORMS and name not in ("where", "pow", "_to"):
            raise UntraceableError(f"{name} over several numbers of a target")
        return tuple(
            self._operation(
                name, node, ctype, [o[i] if isinstance(o, tuple) else o for o in operands]
            )
            for i in range(count)
        )

    def _operation(self, name: str, node: Node, ctype: str, operands: Sequence[Value]) -> Value:
        if name == "_to":
            (operand,) = operands
            return (
                operand
                if operand.ctype == ctype
                else self._new(_kind_of(operands), ctype, f"({ctype}){{}}", operands)
            )
        if name in operations.REDUCTIONS or name in ("gather", "scatter", "scatter_add"):
            return self._over_rows(name, ctype, operands, node)
        if name == "where":
            return self._where(ctype, operands)
        if name == "pow":
            return self._power(node, ctype, operands)
        if name == "remainder" and ctype == "int" and operands[1].kind == "literal":
            return self._new(_kind_of(operands), ctype, "whole_remainder({}, {})", operands)
        if name not in operations.FORMS:
            raise UntraceableError(f"the operation {name}")
        if (alpha := node.kwargs.get("alpha", 1)) != 1:
            factor = self._literal(alpha, ctype)
            scaled = self._cast(operands[1], ctype)
            operands = [operands[0], self._new(scaled.kind, ctype, "{} * {}", [scaled, factor])]
        if name in operations.COMPARISONS:
            return self._comparison(name, node, operands)
        if name == "mul" and (one := _without_one(operands)) is not None:
            return one
        kind = _kind_of(operands)
        return self._new(
            kind, ctype, self._form(name, kind, ctype), [self._cast(o, ctype) for o in operands]
        )

    def _form(self, name: str, kind: str, ctype: str) -> str:
        """The expression of an operation for numbers of a type."""
        if ctype == "T" or name in operations.ANY_TYPE or name in operations.LOGIC:
            return operations.FORMS[name]
        if kind != "scalar" or name not in operations.SCALAR:
            raise UntraceableError(f"the operation {name} of a number of the type {ctype}")
        return operations.SCALAR[name]

    def _over_rows(self, name: str, ctype: str, operands: Sequence[Value], node: Node) -> Value:
        source = operands[0]
        if name in ("scatter", "scatter_add"):
            index, value = operands[2], self._cast(operands[3], ctype)
            form = "select_value({} == c, {}, {})"
            if name == "scatter":
                return self._new("row", ctype, form, [index, value, source])
            zero = self._literal(0, ctype)
            added = self._new("row", ctype, form, [index, value, zero])
            return self._new("row", ctype, "{} + {}", [source, added])
        if name == "gather":
            return self._new("lane", ctype, "{}", [source, operands[2]], reduction="gather")
        shape = node.args[0].meta["val"].shape  # type: ignore[union-attr]
        dims = node.args[1] if len(node.args) > 1 else range(len(shape))
        if all(shape[dim] == 1 for dim in dims):  # type: ignore[union-attr]
            return self._cast(source, ctype)
        if any(shape[dim] != self.num_rows for dim in dims):  # type: ignore[union-attr]
            raise UntraceableError(f"{name} over examples, units or members")
        source = self._as_row(self._cast(source, ctype), ctype)
        total = self._new(
            "lane", ctype, "{}", [source], reduction="max" if name == "amax" else "sum"
        )
        if name != "mean":
            return total
        return self._new("lane", ctype, "{} / (T)rows", [total])

    def _where(self, ctype: str, operands: Sequence[Value]) -> Value:
        condition, yes, no = operands
        if condition.kind == "literal":
            return yes if condition.name == "1" else no
        select = {"T": "select_value", "double": "select_double", "int": "select_int"}[ctype]
        branches = [self._cast(value, ctype) for value in (yes, no)]
        return self._new(
            _kind_of(operands), ctype, f"{select}({{}}, {{}}, {{}})", [condition, *branches]
        )

    def _power(self, node: Node, ctype: str, operands: Sequence[Value]) -> Value:
        base = operands[0]
        if node.args[1] in (2, 3):
            square = self._new(base.kind, ctype, "{} * {}", [base, base])
            return (
                square
                if node.args[1] == 2
                else self._new(base.kind, ctype, "{} * {}", [square, base])
            )
        if node.args[1] == 1:
            return base
        if node.args[1] == 0.5:
            return self._new(base.kind, ctype, "v_sqrt({})", [base])
        if _kind_of(operands) == "scalar" and ctype == "double":
            return self._new(
                "scalar", ctype, "pow({}, {})", [self._cast(o, "double") for o in operands]
            )
        if ctype != "T":
            raise UntraceableError(f"a power of the type {ctype}")
        casts = [self._cast(o, ctype) for o in operands]
        return self._new(_kind_of(operands), ctype, "LIBM(pow)({}, {})", casts)

    def _comparison(self, name: str, node: Node, operands: Sequence[Value]) -> Value:
        first = operands[0]
        if name == "ne" and first.name in self.integers and float(node.args[1]) < 0:  # type: ignore[arg-type]
            return self._literal(1, "int")  # no class is negative
        # the others are compared in the type of the tensor
        same = [first, *(self._cast(self._relabel(o, first), first.ctype) for o in operands[1:])]
        return self._new(_kind_of(operands), "int", operations.FORMS[name], same)

    def _relabel(self, value: Value, like: Value) -> Value:
        """A literal of a comparison, whose type is that of the other operand."""
        if value.kind == "literal":
            return Value("literal", like.ctype, value.name)
        return value

    def _literal(
        self, argument: object, ctype: str, position: tuple[int, int] | None = None
    ) -> Value:
        if position in self.row_literals:
            more = self.row_literals[position]
            return Value("literal", ctype, f"(rows + {more})" if more else "rows")
        if not isinstance(argument, (int, float)):
            raise UntraceableError(f"the argument {argument}")
        return Value("literal", ctype, _number(argument))

    def _cast(self, value: Value, ctype: str) -> Value:
        """The value in the type of a result, as torch's promotion converts it."""
        if value.ctype == ctype or value.kind == "literal":
            return Value("literal", ctype, value.name) if value.kind == "literal" else value
        return self._new(value.kind, ctype, f"({ctype}){{}}", [value])

    def _new(
        self, kind: str, ctype: str, form: str, operands: Sequence[Value], reduction: str = ""
    ) -> Value:
        """A computed value; the same computation gives the same value."""
        key = (kind, ctype, form, reduction, tuple((o.name, o.ctype, o.offset) for o in operands))
        if key not in self._by_text:
            if kind == "literal":  # of literals only: the C compiler computes it
                kind = "scalar"
            value = Value(kind, ctype, next(self._names), "", form, tuple(operands), reduction)
            value.level = _level(value)
            self.values.append(value)
            self._by_text[key] = value
        return self._by_text[key]


def _number(number: int | float) -> str:
    """A number as C writes it."""
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    is_whole = float(number).is_integer() and abs(number) < 2**31
    return repr(int(number) if is_whole else float(number))


def _level(value: Value) -> int:
    """The first loop in which the value can be computed: 0, 2, ... over lanes, 1, 3, ... rows."""
    if value.kind == "scalar":
        return 0
    ready = max((operand.ready for operand in value.operands), default=0)
    over_rows = value.kind == "row" or bool(value.reduction)
    return ready if ready % 2 == over_rows else ready + 1


def _kind_of(operands: Sequence[Value]) -> str:
    return max((operand.kind for operand in operands), key=_KINDS.index)


def _without_one(operands: Sequence[Value]) -> Value | None:
    """The other factor of a product with 1."""
    for one, other in (operands, operands[::-1]):
        if one.kind == "literal" and one.name == "1":
            return other
    return None


def row_literals(
    first: Trace, second: Trace, sizes: tuple[int, int]
) -> dict[tuple[int, int] | None, int]:
    """The (node, argument) of the literals that depend on the number of rows: how many more.

    These differ between traces of networks with other numbers of rows, `sizes`. Raises
    UntraceableError if anything else differs.
    """
    graphs = [list(trace.graph.graph.nodes) for trace in (first, second)]
    if [node.target for node in graphs[0]] != [node.target for node in graphs[1]]:
        raise UntraceableError("operations that depend on the number of outputs")
    literals: dict[tuple[int, int] | None, int] = {}
    for index, (node, other) in enumerate(zip(*graphs, strict=True)):
        for position, (one, two) in enumerate(zip(node.args, other.args, strict=True)):
            if not isinstance(one, (int, float)) or one == two or math.isnan(one):
                continue
            if not isinstance(two, (int, float)) or two - one != sizes[1] - sizes[0]:
                raise UntraceableError("numbers that depend on the number of outputs")
            literals[index, position] = int(one) - sizes[0]
    return literals
