"""`mlplab schema`: the JSON Schema of the configuration files, by which editors check and complete
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import Options, Parser, check_output, plugin_option
from mlplab.config import plugins
from mlplab.config.search_path import config_folders, shipped_folder
from mlplab.config.yaml_render import SCHEMA_FILE

OPTIONS: Options = {
    "-o --out": {
        "metavar": "FILE",
        "type": Path,
        "help": "write the schema to this file; it replaces an older schema",
    },
    "--config-dir -cd": {
        "metavar": "DIR",
        "action": "append",
        "default": [],
        "help": "folder with files of your own, whose names the schema accepts; may be repeated",
    },
    **plugin_option("with components that the schema describes"),
    "--force": {"action": "store_true", "help": "replace any file"},
}


def schema(arguments: Sequence[str]) -> int:
    """Print the JSON Schema of the configuration files: experiments, choices of groups, and the
    config.yaml of a run. An editor with YAML's language server, such as VS Code with the extension
    YAML, checks and completes a file that begins with `# yaml-language-server:
    $schema=PATH_OF_THE_SCHEMA`.
    """
    usage = "`mlplab schema`, with -o FILE to write it"
    args = Parser("schema", schema.__doc__ or "", usage, OPTIONS).parse_args(list(arguments))
    plugins.load(args.plugin)
    text = _text(config_folders(args.config_dir)[1:])
    if args.out is None:
        print(text, end="")
        return 0
    from mlplab.config.json_schema import is_schema
    from mlplab.io.files import write_text_atomic
    from mlplab.io.links import make_folder

    is_older = args.out.is_file() and is_schema(args.out.read_text("utf-8", errors="replace"))
    make_folder(args.out.parent, Path(args.out.anchor or "."))
    check_output(args.out, args.force or is_older, None)
    write_text_atomic(args.out, text)
    print(args.out)
    return 0


def _text(user_folders: Sequence[Path]) -> str:
    """The shipped file, or with components or files of the user a schema that has them too."""
    if not user_folders and not any(map(plugins.registered, plugins.OPEN_GROUPS)):
        return (shipped_folder() / SCHEMA_FILE).read_text(encoding="utf-8")
    from mlplab.config.json_schema import json_schema, schema_text

    return schema_text(json_schema(user_folders))
