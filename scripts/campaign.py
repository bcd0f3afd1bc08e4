#!/usr/bin/env python
"""Run the mass proofs of the tests, part by part; `scripts/test campaign [PART ...]` calls it.

A test that has passed is not run again on the same code: an interrupted campaign goes on where it
was. Passed tests, reports and measured figures are in outputs/campaign/<state of the code>/; with
every part passed, `scripts/reliability_record.py` writes them to docs/reliability.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPLITS = {
    "kills": "processes killed and interrupted at every moment",
    "lecture": "what the lecture claims, over all seeds",
    "fuzz": "whole products of choices, and fuzzed input",
    "timing": "assertions on seconds, memory and file counts; wants an idle machine",
    "cluster": "torchrun, and a Slurm and a Ray of their own, skipped where they are missing",
}
NO_TESTS = 5
"""pytest's exit code where nothing was selected: everything has passed before."""


def state_of_the_code() -> str:
    """The commit, and a digest of what differs from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
        return done.stdout.decode(errors="replace").strip()

    commit = git("rev-parse", "--short=10", "HEAD") or "no-git"
    changes = git("diff", "HEAD", "--", "src", "tests", "configs", "scripts")
    return f"{commit}-{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else commit


def run_part(part: str, folder: Path, arguments: list[str]) -> tuple[int, float]:
    """pytest's exit code and the seconds it took."""
    began = time.monotonic()
    environment = {**os.environ, "MLPLAB_RECORD": str(folder / "figures.jsonl")}
    # Tests of time run one by one.
    parallel = ["-n", "0"] if part == "timing" else ["-n", "auto", "--dist", "worksteal"]
    # A report of its own for each start: those of a campaign that was continued belong together.
    report = folder / f"{part}-{time.strftime('%H%M%S')}.xml"
    command = [
        *(sys.executable, "-m", "pytest", f"--campaign={part}", *parallel),
        *(f"--campaign-record={folder / f'{part}.passed'}", f"--junitxml={report}"),
        *("--durations=10", *arguments),
    ]
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    return (0 if code == NO_TESTS else code), time.monotonic() - began


def main() -> int:
    parts = "\n".join(f"  {name:8} {meaning}" for name, meaning in SPLITS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/test campaign",
        description=f"Run the mass proofs of the tests, all or the named parts:\n{parts}",
        epilog="Arguments behind -- go to pytest.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(SPLITS))
    parser.add_argument("--fresh", action="store_true", help="run again what has passed")
    own, rest = _split(sys.argv[1:])
    arguments = parser.parse_args(own)
    if unknown := set(arguments.parts) - set(SPLITS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; parts: {', '.join(SPLITS)}")
    folder = ROOT / "outputs" / "campaign" / state_of_the_code()
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        for path in folder.iterdir():
            path.unlink()
    results = {}
    for part in arguments.parts or SPLITS:
        print(f"== {part}: {SPLITS[part]}", flush=True)
        results[part] = run_part(part, folder, rest)
    print(f"\ncampaign, {folder.relative_to(ROOT)}:")
    for part, (code, seconds) in results.items():
        print(f"  {part:8} {'passed' if code == 0 else 'FAILED'}, {seconds / 60:.1f} min")
    return max(code for code, _ in results.values())


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before `--`, and those after it."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
