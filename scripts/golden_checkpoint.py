"""Write tests/reliability/golden/<version>: an interrupted run, and its result when continued.

Run once per release.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "reliability"), str(ROOT / "tests")]

from harness import digest  # noqa: E402

from mlplab import experiment  # noqa: E402
from mlplab.config import settings_of_folder  # noqa: E402
from mlplab.config.builder import build  # noqa: E402
from mlplab.config.composition import compose  # noqa: E402
from mlplab.runs.checkpoint_callback import CheckpointCallback  # noqa: E402

OVERRIDES = [
    "experiment=xor_mlp",
    "tracking=summary",
    "tracking.checkpoint_seconds=0",
    "dataset.num_samples=60",
    "training.epochs=30",
    "training.batch_size=16",
    "model.dropout=0.2",
    "model.normalization=batch",
    "optimizer=adamw",
    "schedule=plateau",
]


def main() -> None:
    """Interrupt a run at step 40, and record the result of continuing a copy of its folder."""
    golden = (
        ROOT / "tests" / "reliability" / "golden" / (sys.argv[1] if len(sys.argv) > 1 else "0.1.0")
    )
    real = CheckpointCallback.should_pause

    def stop(self, session, group):  # type: ignore[no-untyped-def]
        if group.stepper.step == 40:
            self.signals.received = signal.SIGTERM
        return real(self, session, group)

    CheckpointCallback.should_pause = stop  # type: ignore[method-assign]
    experiment.run(build(compose(OVERRIDES)), golden, quiet=True)
    CheckpointCallback.should_pause = real  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(golden, Path(folder) / "copy"))
        run = experiment.resume(copy, settings_of_folder(copy), quiet=True)
        expected = {"train/loss": float(run.history["train/loss"][-1]), "digest": digest(copy)}
    (golden / "wanted.json").write_text(json.dumps(expected, indent=2) + "\n")
    (golden / ".lock").unlink()


if __name__ == "__main__":
    main()
