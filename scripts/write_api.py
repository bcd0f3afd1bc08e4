#!/usr/bin/env python
"""Write docs/api.md from the docstrings; run it after changing what is public in Python.

python scripts/write_api.py            # writes
python scripts/write_api.py --check    # prints whether the page differs; exit code 1 if it does
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import mlplab  # noqa: E402
from mlplab import data, errors, losses, metrics, optimizers, schedules, schema  # noqa: E402
from mlplab import sklearn as estimators  # noqa: E402
from mlplab.config import register  # noqa: E402
from mlplab.interactive import Run  # noqa: E402
from mlplab.network import Activation, Initializer  # noqa: E402
from mlplab.pictures.gallery import pictures  # noqa: E402
from mlplab.pictures.rendering.plots import Plots  # noqa: E402
from mlplab.sweeps.report.frame import SweepFrame  # noqa: E402
from mlplab.training import Evaluation, History, Session  # noqa: E402

PAGE = ROOT / "docs" / "api.md"
WIDTH = 88

RUN = (
    *("folder", "settings", "summary", "history", "metrics", "status", "preprocessing", "plot"),
    *("predict", "predict_proba", "predict_codes", "predict_interval", "tuned_threshold"),
    *("explain", "explain_row", "scores", "module"),
)
FIELDS = {
    "folder": "The folder of the run, a `Path`.",
    "settings": "The validated configuration: `run.settings.optimizer.lr`,"
    " `run.settings.training.epochs`.",
    "summary": "The content of `summary.json`: status, seed, epochs, seconds, metrics.",
    "history": "The evaluations of the training, a [`History`](#history).",
    "epoch": "The epoch of each evaluation, int64 [E].",
    "step": "The step of each evaluation, int64 [E].",
    "time": "Seconds since the start of the training, float64 [E].",
    "values": "All measurements, float64 [E, M].",
    "names": "The names of the measurements.",
}
SESSION = ("log", "stop", "save_artifact")
BASES: dict[type, tuple[str, Sequence[str]]] = {
    Activation: ("mlplab.network", ("value",)),
    losses.Loss: ("mlplab.losses", ("num_outputs", "__call__", "predict", "incompatibility")),
    losses.RegressionLoss: ("mlplab.losses", ("per_value",)),
    losses.ClassificationLoss: ("mlplab.losses", ("__call__",)),
    optimizers.Optimizer: ("mlplab.optimizers", ("update", "init")),
    schedules.Schedule: ("mlplab.schedules", ("shape",)),
    Initializer: ("mlplab.network", ("fill", "fill_bias")),
    data.Dataset: ("mlplab.data", ("make",)),
}
KEYS = ("number", "integer", "flag", "choice", "text", "numbers", "anything")


def page() -> str:
    """Return the text of the page."""
    sections = [
        (
            "Train, load and list",
            [entry(f"mlplab.{name}", getattr(mlplab, name)) for name in functions()],
        ),
        ("Run", class_section("mlplab.Run", Run, RUN)),
        ("Plots", [*class_section("run.plot", Plots, ()), *gallery()]),
        (
            "History",
            class_section(
                "mlplab.History",
                History,
                (*("names", "epoch", "step", "time", "values"), *("keys", "items", "to_frame")),
            ),
        ),
        ("Sweep tables", class_section("mlplab.sweep(...)", SweepFrame, ())),
        ("Callbacks", list(callbacks())),
        ("Own components", list(components())),
        (
            "Metrics",
            [
                entry("mlplab.metrics.register", metrics.register),
                "### `mlplab.metrics.UserMetric`",
                text(metrics.UserMetric),
            ],
        ),
        (
            "scikit-learn",
            [
                block
                for name in ("MLPClassifier", "MLPRegressor")
                for block in class_section(
                    f"mlplab.sklearn.{name}",
                    getattr(estimators, name),
                    public_methods(getattr(estimators, name)),
                )
            ],
        ),
        ("Errors", [markdown(inspect.getdoc(errors) or "")]),
    ]
    contents = "\n".join(f"- [{title}](#{anchor(title)})" for title, _ in sections)
    blocks = [
        "# Python API",
        "Written by `scripts/write_api.py` from the docstrings. Everything that is not on this page"
        " may change between versions without notice. [The tour](tour.ipynb) shows it at work."
        " Shapes are in brackets: N examples, F features, C classes, T targets, K members of a"
        " population, B examples of a batch, E evaluations. `Overrides` are those of the command"
        " line: a list of texts, one text, a mapping of keys to values, or None."
        " `mlplab.__version__` is the version.",
        contents,
    ]
    for title, content in sections:
        blocks += [f"## {title}", *filter(None, content)]
    return "\n\n".join(blocks) + "\n"


def functions() -> list[str]:
    """The functions of `mlplab.__all__`, in the order in which a reader needs them."""
    order = ("run", "fit", "sweep", "load", "resume", "list_runs")
    names = [name for name in mlplab.__all__ if inspect.isfunction(getattr(mlplab, name))]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def public_methods(cls: type) -> list[str]:
    """The methods that a class or a base of this package defines."""
    return [
        name
        for name in dir(cls)
        if not name.startswith("_")
        and inspect.isfunction(function := inspect.getattr_static(cls, name))
        and function.__module__.startswith("mlplab.")
    ]


def class_section(name: str, cls: type, members: Sequence[str]) -> list[str]:
    """A class: its docstring, then each member."""
    is_made = name.startswith("mlplab.sklearn")
    blocks = [
        f"### `{name}`",
        *([signature(name, cls.__init__)] if is_made else []),
        text(cls),
    ]
    bullets, methods = [], []
    for member in members:
        value = inspect.getattr_static(cls, member, None)
        if inspect.isfunction(value):
            methods.append(entry(f"{short(name)}.{member}", value, "####"))
        else:
            getter = getattr(value, "fget", None) or getattr(value, "func", None)
            meaning = inspect.getdoc(getter) if getter else FIELDS[member]
            bullets.append(f"- `{member}`: {escaped(' '.join((meaning or '').split()))}")
    return [*blocks, "\n".join(bullets), *methods]


def short(name: str) -> str:
    return {"mlplab.Run": "run", "mlplab.History": "history"}.get(name, name.rpartition(".")[2])


def gallery() -> Iterator[str]:
    """The pictures that `run.plot` draws."""
    cells = ((p.name, escaped(p.meaning).replace("|", "\\|")) for p in pictures())
    rows = [f"| `{name}()` | {meaning} |" for name, meaning in cells]
    yield "\n".join(["| picture | shows |", "|---|---|", *rows])


def callbacks() -> Iterator[str]:
    """The callback, its events, and what it may do with the session and the evaluation."""
    events = [
        name
        for name in ("on_start", "on_evaluation", "on_checkpoint", "on_end")
        if hasattr(mlplab.Callback, name)
    ]
    yield from class_section("mlplab.Callback", mlplab.Callback, events)
    yield "### `session`"
    yield (
        "The training that a callback follows. The networks that train together are its members,"
        " known by their numbers; a run has one, number 0. `session.members[k].settings` is the"
        " configuration of member k."
    )
    yield from class_section("session", Session, SESSION)[2:]
    yield from class_section("evaluation", Evaluation, ("members", "__getitem__"))


def components() -> Iterator[str]:
    """How components are registered, their base classes, and the functions that declare keys."""
    yield entry("mlplab.config.register", register)
    for base, (module, methods) in BASES.items():
        yield from class_section(f"{module}.{base.__name__}", base, methods)
    yield "### Keys: `mlplab.schema`"
    yield (
        "A field of a component is declared by one of these functions, which give its default, its"
        " meaning (one line, shown by `mlplab list`) and its limits:"
        ' `slope: Number = number(0.5, "slope below zero", at_least=0)`.'
    )
    yield signatures([(name, getattr(schema, name)) for name in KEYS])
    yield entry("mlplab.data.class_table", data.class_table)
    yield entry("mlplab.data.value_table", data.value_table)


def entry(name: str, function: Any, level: str = "###") -> str:
    """A function: heading, signature, docstring."""
    return "\n\n".join([f"{level} `{name}`", signature(name, function), text(function)])


def signatures(named: Sequence[tuple[str, Any]]) -> str:
    lines = "\n".join(call(name, function) for name, function in named)
    return f"```py\n{lines}\n```"


def signature(name: str, function: Any) -> str:
    return signatures([(name, function)])


def call(name: str, function: Any) -> str:
    """The signature on one line, or with one argument per line."""
    called = inspect.signature(function)
    parameters = [p for p in called.parameters.values() if p.name != "self"]
    texts, starred = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            texts.append("*")
            starred = True
        typed = parameter.annotation is not parameter.empty
        default = "" if parameter.default is parameter.empty else repr(parameter.default)
        texts.append(
            ("**" if parameter.kind is parameter.VAR_KEYWORD else "")
            + parameter.name
            + (f": {annotation(parameter.annotation)}" if typed else "")
            + (f" = {default}" if default and typed else f"={default}" if default else "")
        )
    result = annotation(called.return_annotation)
    arrow = "" if called.return_annotation in (called.empty, "None", None) else f" -> {result}"
    line = f"{name}({', '.join(texts)}){arrow}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {text}," for text in texts), f"){arrow}"])


def annotation(value: Any) -> str:
    """A type as a reader writes it, without its modules."""
    name = value.__name__ if inspect.isclass(value) else str(value)
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", name)


def text(documented: Any) -> str:
    """The docstring as Markdown."""
    documentation = vars(documented).get("__doc__") if inspect.isclass(documented) else None
    return markdown(inspect.cleandoc(documentation or inspect.getdoc(documented) or ""))


def markdown(docstring: str) -> str:
    """Paragraphs, lists of arguments and indented code of a docstring as Markdown."""
    blocks, heading = [], ""
    for paragraph in docstring.split("\n\n"):
        lines = paragraph.splitlines()
        if lines and (title := re.fullmatch(r"(Args|Raises|Returns|Attributes):", lines[0])):
            heading = {"Args": "Arguments"}.get(title[1], title[1])
            blocks.append(f"{heading}:\n\n" + "\n".join(items(lines[1:])))
        elif lines and all(line.startswith("    ") for line in lines):
            blocks.append(paragraph)  # code
        else:
            blocks.append(escaped(" ".join(line.strip() for line in lines)))
    return "\n\n".join(blocks)


def items(lines: Sequence[str]) -> Iterator[str]:
    """The entries of a list such as Args, each on one line."""
    entries: list[str] = []
    for line in lines:
        if line.startswith("        ") and entries:
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    for item in entries:
        name, colon, meaning = item.partition(": ")
        yield f"- `{name}`: {escaped(meaning)}" if colon else f"- {escaped(item)}"


def escaped(line: str) -> str:
    """Text whose angle brackets and asterisks outside of code are not markup."""
    return "".join(
        text if i % 2 else re.sub(r"([<*])", r"\\\1", text)
        for i, text in enumerate(re.split(r"(`[^`]*`)", line))
    )


@functools.cache
def anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def main(check: bool) -> int:
    """Write the page, or only compare it; returns the exit code."""
    expected = page()
    is_current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == expected
    if not is_current:
        print(PAGE.relative_to(ROOT))
    if not check:
        PAGE.write_text(expected, encoding="utf-8")
    return int(check and not is_current)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] == ["--check"]))
