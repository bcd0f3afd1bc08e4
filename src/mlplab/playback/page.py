"""report.html of a run: one page that replays its training, without a server or any request."""

from __future__ import annotations

import html
import json
import shlex
from pathlib import Path
from typing import Any

from mlplab.io.files import write_text_atomic, yaml_text
from mlplab.pictures.study import Study
from mlplab.playback.payload import payload
from mlplab.runs.run import Run
from mlplab.runs.run_index import user_overrides

_ASSETS = Path(__file__).parent / "assets"


def write_page(run: Run, study: Study) -> Path:
    """Write report.html into the folder of the run and return its path."""
    path = run.folder / "report.html"
    write_text_atomic(path, page(run, study))
    return path


def page(run: Run, study: Study) -> str:
    """Return the page as HTML. Text from users is always escaped, never markup or script."""
    description, arrays = payload(study)
    description["name"] = run.settings.name
    command = repeat_command(run)
    body = (_ASSETS / "page.html").read_text(encoding="utf-8")
    for key, value in {
        "name": run.settings.name,
        "facts": _facts(run),
        "command": command,
        "config": yaml_text(run.settings.config),
        "note": "; ".join(filter(None, [study.plane.note, description["left_out"]])),
    }.items():
        body = body.replace("{{" + key + "}}", html.escape(value))
    return "\n".join(
        [
            "<!doctype html>",
            (
                '<html lang="en"><head><meta'
                f' charset="utf-8"><title>{html.escape(run.settings.name)} · mlplab</title>'
            ),
            (
                '<meta name="viewport" content="width=device-width, initial-scale=1"><link'
                ' rel="icon" href="data:,">'
            ),
            f"<style>{(_ASSETS / 'page.css').read_text(encoding='utf-8')}</style></head>",
            f"<body>{body}",
            f'<script type="application/json" id="data">{_script(description)}</script>',
            f'<script type="text/plain" id="arrays">{arrays}</script>',
            *(
                f"<script>{(_ASSETS / name).read_text(encoding='utf-8')}</script>"
                for name in ("arrays.js", "draw.js", "page.js")
            ),
            "</body></html>",
            "",
        ]
    )


def repeat_command(run: Run) -> str:
    """Return the command line that trains the run again."""
    overrides = list(user_overrides(run.folder))
    if not any(override.startswith("seed=") for override in overrides):
        overrides.append(f"seed={run.settings.seed}")
    return "mlplab train " + " ".join(shlex.quote(override) for override in overrides)


def _script(value: Any) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _facts(run: Run) -> str:
    names = [
        name
        for name in ("test/accuracy", "test/rmse", "test/loss", "val/accuracy", "val/rmse")
        if name in run.metrics
    ][:3]
    numbers = ", ".join(f"{name} {run.metrics[name]:.4g}" for name in names)
    summary = run.summary
    return (
        f"{summary['status']} · {summary['epochs']} epochs, best {summary['best_epoch']} ·"
        f" {summary['num_parameters']:,} parameters · {numbers}"
    )
