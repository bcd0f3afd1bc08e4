"""Other libraries that fit networks in processes of their own: plain/peer_fits.py."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCRIPT = Path(__file__).parent / "plain" / "peer_fits.py"
LIBRARIES = ("torch", "skorch", "jax")


class Peer:
    """A process of one library, which keeps what it has compiled."""

    def __init__(self, python: str, library: str) -> None:
        self.process = subprocess.Popen(
            [python, str(SCRIPT), f"--library={library}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fit(self, task: Mapping[str, object]) -> dict[str, Any]:
        """Fit, and return the processor `seconds` and the `scores`, of train and other rows."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(task), file=self.process.stdin, flush=True)
        if not (answer := self.process.stdout.readline()):
            raise SystemExit("plain/peer_fits.py failed")
        result: dict[str, Any] = json.loads(answer)
        return result


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose other libraries."""
    parser.add_argument(
        "--peers", metavar="PYTHON", help="an interpreter that has the libraries to compare with"
    )
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)


def chosen(arguments: argparse.Namespace) -> dict[str, Peer]:
    """The libraries that were chosen; none without --peers."""
    libraries: Sequence[str] = arguments.libraries if arguments.peers else ()
    return {library: Peer(arguments.peers, library) for library in libraries}


def stored(folder: str, **arrays: NDArray[Any]) -> dict[str, str]:
    """Write arrays to a folder; return their paths by name."""
    paths = {name: str(Path(folder) / f"{name}.npy") for name in arrays}
    for name, array in arrays.items():
        np.save(paths[name], array)
    return paths
