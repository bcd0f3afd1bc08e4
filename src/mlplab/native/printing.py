"""C functions that compute the values of a traced graph, for all lanes.

Scalars are computed first. Values of the kinds lane and row are computed in loops over the lanes,
those of the kind row inside a loop over the rows. A sum or maximum over the rows is complete after
the loop that computes it. This puts the values into levels: even ones are loops over lanes, odd
ones loops over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlplab.native.expressions import Expressions, Value


@dataclass(frozen=True)
class _Result:
    """A value that is stored, and where: in an array by lane, or by row and lane."""

    value: Value
    by_row: bool
    array: str
    offset: int

    @property
    def level(self) -> int:
        """The loop that stores it."""
        ready = self.value.ready
        return ready if ready % 2 == self.by_row else ready + 1

    @property
    def element(self) -> str:
        return self.array + (_row_index(self.offset) if self.by_row else "[i]")


@dataclass
class Body:
    """The statements that compute some outputs of a graph, and store them as `stores` says.

    `stores` maps the name of an output to the C array that receives it, those of `by_row` one
    number for each row; `also` are outputs that are scalars. `lanes` is the number of lanes in C.
    """

    expressions: Expressions
    stores: dict[str, str]
    lanes: str = "n"
    by_row: frozenset[str] = frozenset()
    also: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._results = [
            _Result(value, name in self.by_row, array, offset)
            for name, array in self.stores.items()
            for offset, value in enumerate(self.expressions.outputs[name])
        ]

    def lines(self) -> list[str]:
        needed = self._needed()
        self._sink(needed)
        lines = [
            f"const {v.ctype} {v.name} = {self._expression(v, None)};"
            for v in needed
            if v.kind == "scalar"
        ]
        looped = [value for value in needed if value.kind != "scalar"]
        stored = self._stored(looped)
        for value in stored:
            if value.kind == "row":
                lines.append(f"{value.ctype} *const {value.name} = (void *)scratch;")
                lines.append("scratch += rows * LANE;")
            else:
                lines.append(f"{value.ctype} {value.name}[LANE];")
            value.array = value.name
        last = max((value.level for value in looped), default=0)
        last = max([last, *(result.level for result in self._results)])
        for level in range(last + 1):
            lines += self._loop(level, looped, stored)
        return lines

    def _needed(self) -> list[Value]:
        """The values that the outputs depend on, in order."""
        wanted = {id(result.value) for result in self._results}
        wanted |= {id(value) for name in self.also for value in self.expressions.outputs[name]}
        needed: list[Value] = []
        for value in reversed(self.expressions.values):
            if id(value) in wanted:
                needed.append(value)
                wanted |= {id(operand) for operand in value.operands}
        return needed[::-1]

    def _sink(self, needed: Sequence[Value]) -> None:
        """Move values of rows to the loop that uses them first, so that few are stored."""
        for value in reversed(needed):
            users = [other.level for other in needed if value in other.operands]
            if value.kind == "row" and users:
                value.level = max(value.level, min(users))

    def _stored(self, looped: Sequence[Value]) -> list[Value]:
        """The values that another loop needs than the one that computes them."""
        return [
            value
            for value in looped
            if value.reduction
            or any(value in other.operands and other.level != value.level for other in looped)
            or any(
                result.value is value and value.kind == "lane" and value.level % 2
                for result in self._results
            )
        ]

    def _loop(self, level: int, looped: Sequence[Value], stored: Sequence[Value]) -> list[str]:
        over_rows = level % 2 == 1
        at = "[c * LANE + i]" if over_rows else "[i]"
        inner, before = [], []
        for value in (value for value in looped if value.level == level):
            expression = self._expression(value, level)
            if value.reduction:
                start = "-INFINITY" if value.reduction == "max" else "0"
                before.append(f"{value.name}[i] = {start};")
                inner.append(f"{value.name}[i] = {expression};")
                continue
            inner.append(f"const {value.ctype} {value.name}_ = {expression};")
            if value in stored:
                inner.append(f"{value.name}{at} = {value.name}_;")
        for result in self._results:
            if result.level == level:
                inner.append(f"{result.element} = {self._text(result.value, level)};")
        if not inner:
            return []
        each_lane = f"EACH(i, {self.lanes}) {{"
        loop = [each_lane, *inner, "}"]
        start_loop = [each_lane, *before, "}"] if before else []
        return [
            *start_loop,
            *(["for (int c = 0; c < rows; c++) {", *loop, "}"] if over_rows else loop),
        ]

    def _expression(self, value: Value, level: int | None) -> str:
        texts = [self._text(operand, level) for operand in value.operands]
        if value.reduction == "gather":
            return f"select_value({texts[1]} == c, {texts[0]}, {value.name}[i])"
        if value.reduction:
            combine = "v_max({}, {})" if value.reduction == "max" else "{} + {}"
            return combine.format(f"{value.name}[i]", texts[0])
        return value.form.format(*texts)

    def _text(self, value: Value, level: int | None) -> str:
        if value.kind == "literal":
            return f"({value.ctype}){value.name}"
        if value.kind == "scalar":
            return value.name
        if value.form and not value.reduction and value.level == level:
            return f"{value.name}_"
        return value.array + (_row_index(value.offset) if value.kind == "row" else "[i]")


def _row_index(offset: int) -> str:
    return f"[(c + {offset} * rows) * LANE + i]" if offset else "[c * LANE + i]"


def function(head: str, statements: Sequence[str]) -> str:
    """Return the text of a C function."""
    lines, depth = [], 1
    for line in statements:
        depth -= line == "}"
        lines.append("  " * depth + line)
        depth += line.endswith("{")
    return "\n".join([f"void {head} {{", *lines, "}", ""])


def numbers(names: Sequence[str]) -> list[str]:
    """The statements that read the numbers of a component."""
    return [f"const double {name} = numbers[{index}];" for index, name in enumerate(names)]
