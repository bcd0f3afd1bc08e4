"""The files of configs/, made from the classes: a test holds them equal, and
scripts/write_configs.py writes them again.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlplab.config.registry import TRACKING_KEYS, TRACKING_LEVELS, table
from mlplab.config.root import COMPONENT_GROUPS, DEFAULTS, Root
from mlplab.config.sweep_options import Sweep
from mlplab.config.yaml_render import component_yaml, key_lines, value_yaml

_HEAD = """\
# mlplab: a choice for each group, and the keys beside the groups.
# `mlplab list` says what there is to choose.
# Written by scripts/write_configs.py from the classes; change those.
defaults:
  - _self_
"""

_HYDRA = """
hydra:
  run:
    dir: outputs/runs/${name}/${mlplab.stamp:}
  sweep:
    dir: outputs/sweeps/${name}/${mlplab.stamp:}
    subdir: jobs/${hydra.job.num}
  output_subdir: null
  job:
    name: mlplab
    chdir: false
  help:
    app_name: mlplab train
    header: |
      mlplab train [KEY=VALUE ...]: train one network; with -m and several values a key,
      train one for each combination.
    footer: |
      `mlplab list GROUP NAME` explains every key; `mlplab --help` lists the other commands;
      --hydra-help shows the flags of Hydra.
    template: |
      ${hydra.help.header}
      == Groups: choose with GROUP=WORD ==
      $APP_CONFIG_GROUPS
      == Configuration: change with KEY=VALUE, as in optimizer.lr=0.01 ==
      $CONFIG
      ${hydra.help.footer}
"""


def shipped_files() -> Iterator[tuple[str, str]]:
    """(path below configs/, text) of every file that follows from a class. Experiments are written
    by hand.
    """
    yield "config.yaml", root_yaml()
    for group in COMPONENT_GROUPS:
        if group == "tracking":
            for word, meaning in TRACKING_LEVELS.items():
                keys = [
                    line
                    for line in key_lines(table(group)[word])
                    if line.partition(":")[0] in TRACKING_KEYS.get(word, ())
                ]
                yield (
                    f"{group}/{word}.yaml",
                    "\n".join([f"# {meaning}", f"name: {value_yaml(word)}", *keys]) + "\n",
                )
            continue
        for word, part in table(group).items():
            yield f"{group}/{word}.yaml", component_yaml(word, part)


def root_yaml() -> str:
    """The primary configuration."""
    choices = [f"  - {group}: {value_yaml(word)}" for group, word in DEFAULTS.items()]
    presets = [f"  - override hydra/{key}: none" for key in ("hydra_logging", "job_logging")]
    ours = [f"  - override hydra/{key}: mlplab" for key in ("launcher", "sweeper")]
    sweep = [
        "sweep:  # with -m, or in an experiment's file",
        *(f"  {line}" for line in key_lines(Sweep)),
    ]
    return (
        _HEAD
        + "\n".join([*choices, *presets, *ours, "", *key_lines(Root), "", *sweep])
        + "\n"
        + _HYDRA
    )
