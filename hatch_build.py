"""The name of a wheel that contains compiled libraries: scripts/write_native.py --prebuilt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlatformHook(BuildHookInterface):
    """Names the platform of the libraries. A wheel without them is for all platforms."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / "src" / "mlplab" / "native" / "prebuilt"
        if version == "standard" and any(folder.glob("*.so")):
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-linux_x86_64"
