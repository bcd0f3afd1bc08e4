#!/usr/bin/env python
"""Run the campaign suites of the tests; `scripts/test campaign [SUITE ...]` calls this script.

A test that has passed is not repeated on the same code, so an interrupted campaign continues.
Passed tests, reports and measured figures are in outputs/campaign/<code version>/. After all suites
have passed, `scripts/reliability_record.py` writes them to docs/reliability.md.
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
sys.path.insert(0, str(ROOT / "tests"))
from tiers import SUITES  # noqa: E402

NO_TESTS = 5
"""pytest's exit code if no test was selected: all of them have passed before."""


CODE = ("src", "tests", "configs", "scripts")


def code_version() -> str:
    """A digest of the committed code, and one of the uncommitted changes. A change of the
    documentation alone repeats nothing.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
        return done.stdout.decode(errors="replace").strip()

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    trees = git("rev-parse", *(f"HEAD:{folder}" for folder in CODE))
    version = digest(trees)[:10] if trees else "no-git"
    changes = git("diff", "HEAD", "--", *CODE)
    return f"{version}-{digest(changes)[:8]}" if changes else version


def run_suite(suite: str, folder: Path, arguments: list[str]) -> tuple[int, float]:
    """Run one suite, and return pytest's exit code and the seconds it took."""
    start = time.monotonic()
    environment = {**os.environ, "MLPLAB_RECORD": str(folder / "figures.jsonl")}
    if suite == "timing":
        parallel = ["-n", "0"]  # tests that measure time run one by one
    elif suite == "kills":  # few tests, and the longest in one file: each goes to a free worker
        parallel = ["-n", "auto", "--dist", "load", "--maxschedchunk", "1"]
    else:
        parallel = ["-n", "auto", "--dist", "worksteal"]
    # one report per start: a continued campaign has several
    report = folder / f"{suite}-{time.strftime('%H%M%S')}.xml"
    command = [
        *(sys.executable, "-m", "pytest", f"--campaign={suite}", *parallel),
        *(f"--campaign-record={folder / f'{suite}.passed'}", f"--junitxml={report}"),
        *("--durations=10", *arguments),
    ]
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    return (0 if code == NO_TESTS else code), time.monotonic() - start


def main() -> int:
    suites = "\n".join(f"  {name:8} {meaning}" for name, meaning in SUITES.items())
    parser = argparse.ArgumentParser(
        prog="scripts/test campaign",
        description=f"Run all campaign suites of the tests, or the named ones:\n{suites}",
        epilog="Arguments after -- are passed to pytest.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--fresh", action="store_true", help="repeat tests that have passed")
    script_arguments, pytest_arguments = _split(sys.argv[1:])
    arguments = parser.parse_args(script_arguments)
    if unknown := set(arguments.suites) - set(SUITES):
        parser.error(f"there is no suite {', '.join(sorted(unknown))}; suites: {', '.join(SUITES)}")
    folder = ROOT / "outputs" / "campaign" / code_version()
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        for path in folder.iterdir():
            path.unlink()
    results = {}
    for suite in arguments.suites or SUITES:
        print(f"== {suite}: {SUITES[suite]}", flush=True)
        try:
            results[suite] = run_suite(suite, folder, pytest_arguments)
        except KeyboardInterrupt:
            print("\ninterrupted: the same command continues after the tests that have passed")
            return 130
    print(f"\ncampaign, {folder.relative_to(ROOT)}:")
    for suite, (code, seconds) in results.items():
        print(f"  {suite:8} {'passed' if code == 0 else 'FAILED'}, {seconds / 60:.1f} min")
    return max(code for code, _ in results.values())


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before `--`, and those after it."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
