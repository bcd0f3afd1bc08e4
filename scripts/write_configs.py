#!/usr/bin/env python
"""Write configs/ from the classes; run it after changing fields, defaults or meanings.

python scripts/write_configs.py            # writes
python scripts/write_configs.py --check    # lists what differs; exit code 1 if anything does
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from mlplab.config.generate_yaml import shipped_files  # noqa: E402
from mlplab.config.root import COMPONENT_GROUPS  # noqa: E402


def main(check: bool) -> int:
    folder = ROOT / "configs"
    expected = dict(shipped_files())
    stale = [
        path
        for group in COMPONENT_GROUPS
        for path in (folder / group).glob("*.yaml")
        if path.relative_to(folder).as_posix() not in expected
    ]
    changed = [
        name
        for name, text in expected.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    for name in [*changed, *(path.relative_to(folder).as_posix() for path in stale)]:
        print(name)
    if not check:
        for path in stale:
            path.unlink()
        for name in changed:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(expected[name], encoding="utf-8")
    return int(check and bool(changed or stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] == ["--check"]))
