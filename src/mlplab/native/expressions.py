"""The values of a traced graph as expressions of C.

A value of a graph is of one of four kinds, told apart by the sizes of its dimensions:

    literal    a number of the graph
    scalar     one number for all lanes: computed in double before the loops, as torch computes it
    lane       one number per lane
    row        one number per lane and output of the network (losses only)
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.fx import Node

from mlplab.native.tracing import LANES, Trace

_KINDS = ("literal", "scalar", "lane", "row")
_TYPES = {
    torch.float32: "T",
    torch.float64: "double",
    torch.int64: "int",
    torch.bool: "int",
}
_FORMS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "abs": "v_abs({})",
    "sqrt": "v_sqrt({})",
    "exp": "v_exp({})",
    "log": "v_log({})",
    "log1p": "v_log1p({})",
    "tanh": "v_tanh({})",
    "sigmoid": "v_sigmoid({})",
    "erf": "v_erf({})",
    "relu": "v_relu({})",
    "minimum": "v_min({}, {})",
    "maximum": "v_max({}, {})",
    "gt": "{} > {}",
    "ge": "{} >= {}",
    "le": "{} <= {}",
    "ne": "{} != {}",
    "isnan": "is_nan({})",
    "bitwise_or": "{} | {}",
    "logical_and": "{} & {}",
}
_COMPARISONS = {"gt", "ge", "le", "ne", "isnan"}
_VIEWS = {"alias", "view", "squeeze", "unsqueeze", "expand", "clone"}
_FILLS = {"full": 1, "full_like": 1, "scalar_tensor": 0}  # the argument that has the value


class UntraceableError(Exception):
    """A component uses an operation that cannot be printed."""


@dataclass(eq=False)
class Value:
    """A value of the graph. `array` is its C array, if it has one."""

    kind: str
    ctype: str
    name: str
    array: str = ""
    form: str = ""  # how it is computed from its operands
    operands: tuple[Value, ...] = ()
    reduction: str = ""  # over the outputs: sum, max or the form of a gather
    level: int = 0

    @property
    def ready(self) -> int:
        """The first level at which the value can be used."""
        return self.level + 1 if self.reduction else self.level


@dataclass
class Expressions:
    """The values of one trace. `outputs` are those of the trace's outputs.

    `num_rows` is the number of outputs of the network in the trace; a literal of `row_literals` is
    that number, as comparing two traces has shown.
    """

    trace: Trace
    num_rows: int = -1
    row_literals: frozenset[tuple[int, int]] = frozenset()
    integers: frozenset[str] = frozenset()  # inputs that are classes: integers from 0
    values: list[Value] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_node: dict[Node, Value] = {}
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
                        self.outputs[name] = self._by_node[output]

    def _kind(self, node: Node) -> str:
        shape = node.meta["val"].shape
        if self.num_rows in shape:
            return "row"
        return "lane" if LANES in shape else "scalar"

    def _input(self, name: str, node: Node) -> Value:
        kind, ctype = self._kind(node), _TYPES[node.meta["val"].dtype]
        if kind == "scalar":
            return Value(kind, "double", name)
        return Value(kind, ctype, name, array=name)

    def _call(self, index: int, node: Node) -> Value:
        if node.target is operator.getitem:
            raise UntraceableError("an operation with several results")
        name = node.target._schema.name.split("::")[1].removesuffix("_copy")  # type: ignore[union-attr]
        overwrites = name.endswith("_") and not name.startswith("_")
        value = self._operation(index, name.removesuffix("_") if overwrites else name, node)
        if overwrites:  # from here on, the argument has the new value
            self._by_node[node.args[0]] = value  # type: ignore[index]
        return value

    def _operation(self, index: int, name: str, node: Node) -> Value:
        ctype = _TYPES[node.meta["val"].dtype]
        if name in _VIEWS or name == "copy":  # into an argument: the value is the second one
            return self._by_node[node.args[name == "copy"]]  # type: ignore[index]
        if name in _FILLS:
            return self._literal(node.args[_FILLS[name]], ctype)
        operands = [
            self._by_node[argument]
            if isinstance(argument, Node)
            else self._literal(argument, ctype, (index, position))
            for position, argument in enumerate(node.args)
            if not isinstance(argument, (list, bool))
        ]
        if name == "_to":
            (operand,) = operands
            return (
                operand
                if operand.ctype == ctype
                else self._new(_kind_of(operands), ctype, f"({ctype}){{}}", operands)
            )
        if name in ("sum", "mean", "amax", "gather", "scatter"):
            return self._over_rows(name, ctype, operands)
        if name == "where":
            return self._where(ctype, operands)
        if name == "pow":
            return self._power(node, ctype, operands)
        if name not in _FORMS or node.kwargs.get("alpha", 1) != 1:
            raise UntraceableError(f"the operation {name}")
        if name in _COMPARISONS:
            return self._comparison(name, node, operands)
        if name == "mul" and (one := _without_one(operands)) is not None:
            return one
        return self._new(
            _kind_of(operands), ctype, _FORMS[name], [self._cast(o, ctype) for o in operands]
        )

    def _over_rows(self, name: str, ctype: str, operands: Sequence[Value]) -> Value:
        source = operands[0]
        if name in ("gather", "scatter"):
            *_, index = operands[:3]
            if name == "scatter":
                value = operands[3]
                form = "select_value({} == c, {}, {})"
                return self._new("row", ctype, form, [index, self._cast(value, ctype), source])
            return self._new("lane", ctype, "{}", [source, index], reduction="gather")
        if source.kind != "row":
            raise UntraceableError(f"{name} over the lanes")
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
        base, exponent = operands
        if node.args[1] == 2:
            return self._new(base.kind, ctype, "{} * {}", [base, base])
        if node.args[1] == 0.5:
            return self._new(base.kind, ctype, "v_sqrt({})", [base])
        if _kind_of(operands) == "scalar" and ctype == "double":
            return self._new(
                "scalar", ctype, "pow({}, {})", [self._cast(o, "double") for o in operands]
            )
        raise UntraceableError(f"the power {exponent.name}")

    def _comparison(self, name: str, node: Node, operands: Sequence[Value]) -> Value:
        first = operands[0]
        if name == "ne" and first.name in self.integers and float(node.args[1]) < 0:  # type: ignore[arg-type]
            return self._literal(1, "int")  # no class is negative
        # the others are compared in the type of the tensor
        same = [first, *(self._cast(self._relabel(o, first), first.ctype) for o in operands[1:])]
        return self._new(_kind_of(operands), "int", _FORMS[name], same)

    def _relabel(self, value: Value, like: Value) -> Value:
        """A literal of a comparison, whose type is that of the other operand."""
        if value.kind == "literal":
            return Value("literal", like.ctype, value.name)
        return value

    def _literal(
        self, argument: object, ctype: str, position: tuple[int, int] | None = None
    ) -> Value:
        if position in self.row_literals:
            return Value("literal", ctype, "rows")
        if not isinstance(argument, (int, float)) or not math.isfinite(argument):
            raise UntraceableError(f"the argument {argument}")
        text = repr(int(argument) if float(argument).is_integer() else float(argument))
        return Value("literal", ctype, text)

    def _cast(self, value: Value, ctype: str) -> Value:
        """The value in the type of a result, as torch's promotion converts it."""
        if value.ctype == ctype or value.kind == "literal":
            return Value("literal", ctype, value.name) if value.kind == "literal" else value
        return self._new(value.kind, ctype, f"({ctype}){{}}", [value])

    def _new(
        self, kind: str, ctype: str, form: str, operands: Sequence[Value], reduction: str = ""
    ) -> Value:
        """A computed value; the same computation gives the same value."""
        key = (kind, ctype, form, reduction, tuple((o.name, o.ctype) for o in operands))
        if key not in self._by_text:
            if kind == "literal":  # of literals only: the C compiler computes it
                kind = "scalar"
            value = Value(kind, ctype, next(self._names), "", form, tuple(operands), reduction)
            value.level = _level(value)
            self.values.append(value)
            self._by_text[key] = value
        return self._by_text[key]


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


def row_literals(first: Trace, second: Trace, sizes: tuple[int, int]) -> frozenset[tuple[int, int]]:
    """The (node, argument) of the literals that are the number of outputs.

    These differ between traces of networks with other numbers of outputs, `sizes`.
    """
    return frozenset(
        (index, position)
        for index, nodes in enumerate(
            zip(first.graph.graph.nodes, second.graph.graph.nodes, strict=True)
        )
        for position, pair in enumerate(zip(*(node.args for node in nodes), strict=True))
        if nodes[0].op == "call_function" and pair == sizes
    )
