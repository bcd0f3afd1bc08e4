"""C functions that compute the values of a traced graph, for all lanes.

Scalars are computed first. Values of the kinds lane and row are computed in loops over the lanes,
those of the kind row inside a loop over the outputs of the network. A sum or maximum over the
outputs is complete after the loop that computes it. This puts the values into levels: even ones are
loops over lanes, odd ones loops over outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlplab.native.expressions import Expressions, Value


@dataclass
class Body:
    """The statements that compute some outputs of a graph, and store them as `stores` says.

    `stores` maps the name of an output to the C array that receives it; `lanes` is the number of
    lanes in C.
    """

    expressions: Expressions
    stores: dict[str, str]
    lanes: str = "n"

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
                lines.append(f"{value.ctype} *const {value.name} = scratch;")
                lines.append("scratch += rows * LANE;")
            else:
                lines.append(f"{value.ctype} {value.name}[LANE];")
            value.array = value.name
        last = max((value.level for value in looped), default=0)
        final = {name: self.expressions.outputs[name] for name in self.stores}
        last = max([last, *(value.ready for value in final.values())])
        for level in range(last + 1):
            lines += self._loop(level, looped, stored)
        return lines

    def _needed(self) -> list[Value]:
        """The values that the outputs depend on, in order."""
        wanted = {id(self.expressions.outputs[name]) for name in self.stores}
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
                self.expressions.outputs[name] is value and value.kind == "lane" and value.level % 2
                for name in self.stores
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
        for name, array in self.stores.items():
            value = self.expressions.outputs[name]
            if self._store_level(name, value) == level:
                where = at if value.kind == "row" or not over_rows else "[i]"
                inner.append(f"{array}{where} = {self._text(value, level)};")
        if not inner:
            return []
        each_lane = f"EACH(i, {self.lanes}) {{"
        loop = [each_lane, *inner, "}"]
        start_loop = [each_lane, *before, "}"] if before else []
        return [
            *start_loop,
            *(["for (int c = 0; c < rows; c++) {", *loop, "}"] if over_rows else loop),
        ]

    def _store_level(self, name: str, value: Value) -> int:
        """The loop that stores an output: one over rows if it is a gradient by output."""
        is_row = value.kind == "row" or (name == "derivative" and self.expressions.num_rows > 0)
        return value.ready if value.ready % 2 == is_row else value.ready + 1

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
        return f"{value.array}[c * LANE + i]" if value.kind == "row" else f"{value.array}[i]"


def function(head: str, prologue: Sequence[str], body: Body) -> str:
    """Return the text of a C function."""
    lines, depth = [], 1
    for line in [*prologue, *body.lines()]:
        depth -= line == "}"
        lines.append("  " * depth + line)
        depth += line.endswith("{")
    return "\n".join([f"void {head} {{", *lines, "}", ""])


def numbers(names: Sequence[str]) -> list[str]:
    """The statements that read the numbers of a component."""
    return [f"const double {name} = numbers[{index}];" for index, name in enumerate(names)]
