#!/usr/bin/env python
"""Write the C files of the native engine from the components; run it after changing a formula.

python scripts/write_native.py            # writes
python scripts/write_native.py --check    # lists what differs; exit code 1 if anything does
python scripts/write_native.py --prebuilt # compiles the libraries for wheels
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from mlplab.native import prebuilt  # noqa: E402
from mlplab.native.generating import generated_files  # noqa: E402
from mlplab.native.sources import GENERATED  # noqa: E402


def main(check: bool) -> int:
    changed = [
        (GENERATED / name, text)
        for name, text in generated_files()
        if not (GENERATED / name).is_file()
        or (GENERATED / name).read_text(encoding="utf-8") != text
    ]
    for path, text in changed:
        print(path.relative_to(ROOT))
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and changed else 0


def write_prebuilt() -> int:
    for path in prebuilt.build(prebuilt.FOLDER):
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(write_prebuilt() if "--prebuilt" in sys.argv[1:] else main("--check" in sys.argv[1:]))
