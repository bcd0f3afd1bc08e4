"""Checks at run time that tensors have the shapes that their names promise.

A name such as theta_KP or x_N2 ends in its dimensions: a letter is a size that is the same for all
names of a frame, a digit is a literal size. K may be 1 where all members share the values.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch
from source_tree import Offender, short

SUFFIX = re.compile(r"_([A-Z0-9]+)$")
BROADCAST = "K"  # the letter that may be 1


class ShapeChecker:
    """Looks at the local variables of the functions below a folder as they return or yield."""

    def __init__(self, source: Path) -> None:
        self.source = str(source)
        self.offenders: dict[str, Offender] = {}
        self.checked: set[tuple[CodeType, str]] = set()
        self._names: dict[CodeType, list[tuple[str, str]]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        before, before_in_threads = sys.getprofile(), threading.getprofile()
        sys.setprofile(self._profile)
        threading.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(before)
            threading.setprofile(before_in_threads)

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "return":
            return
        names = self._names.get(frame.f_code)
        if names is None:
            names = self._names[frame.f_code] = self._suffixed(frame.f_code)
        if names:
            self.check(frame.f_code, names, frame.f_locals)

    def _suffixed(self, code: CodeType) -> list[tuple[str, str]]:
        """(name, dimensions) of the local variables that have a suffix."""
        if not code.co_filename.startswith(self.source):
            return []
        names = (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
        return [(name, match[1]) for name in names if (match := SUFFIX.search(name))]

    def check(
        self, code: CodeType, names: list[tuple[str, str]], variables: dict[str, Any]
    ) -> None:
        sizes: dict[str, tuple[int, str]] = {}
        for name, dimensions in names:
            value = variables.get(name)
            if not isinstance(value, (torch.Tensor, np.ndarray)):
                continue
            self.checked.add((code, name))
            shape = tuple(value.shape)
            if len(shape) != len(dimensions):
                self._note(code, name, f"shape {shape}")
                continue
            for letter, size in zip(dimensions, shape, strict=True):
                self._check_size(code, name, letter, size, sizes)

    def _check_size(
        self, code: CodeType, name: str, letter: str, size: int, sizes: dict[str, tuple[int, str]]
    ) -> None:
        if letter.isdigit():
            if size != int(letter):
                self._note(code, name, f"{size} instead of {letter}")
            return
        if letter == BROADCAST and size == 1:
            return
        first, first_name = sizes.setdefault(letter, (size, name))
        if size != first:
            self._note(code, name, f"{letter} is {size} here and {first} in {first_name}")

    def _note(self, code: CodeType, name: str, detail: str) -> None:
        path = code.co_filename.removeprefix(self.source).lstrip("/")
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        key = f"{short(module)}.{code.co_qualname} {name}"
        self.offenders.setdefault(key, Offender(key, f"{path}:{code.co_firstlineno}", detail))


def shapes_of(source: Path, *workloads: Callable[[], object]) -> ShapeChecker:
    checker = ShapeChecker(source)
    with checker.watching():
        for work in workloads:
            work()
    return checker
