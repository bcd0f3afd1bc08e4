"""HTML pages from jinja2 templates: text is escaped, and an unknown name is an error."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def render(folder: Path, template: str, **values: object) -> str:
    """The page that a template of this folder makes of the values.

    A template may use `asset("page.css")`, the text of a file beside it, and the filter `json`, a
    value as JSON that is safe inside a script element. Raises jinja2.UndefinedError for a name
    that the template uses and `values` lacks, and ValueError for a number that JSON cannot hold.
    """
    return str(_environment(folder).get_template(template).render(**values))


@cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def asset(name: str) -> Markup:
        return Markup((folder / name).read_text(encoding="utf-8"))

    def as_json(value: object) -> Markup:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        # no string can end the script element
        return Markup(text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&"}))

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["asset"] = asset
    environment.filters["json"] = as_json
    return environment
