"""Test accuracy beside scikit-learn's MLPClassifier, with its own settings on its own data, over 10 seeds. Run: python scripts/benchmark/against_sklearn.py

Hidden layer of 100 relu units, Adam 1e-3, batches of 200, L2 1e-4, 200 epochs, standardised. scikit-learn divides its L2 term by the batch
size, so the same penalty is l2 = 1e-4 / 200 here. Each seed has its own split, the same for both. mlplab trains on the train part and has no validation
part, as scikit-learn: it ends with the weights of the lowest training loss.
"""

from __future__ import annotations

import dataclasses
import statistics
import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from mlplab.config import settings_from_words
from mlplab.data import prepare
from mlplab.training import train_together

SEEDS = range(10)


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("dataset         mlplab  scikit-learn  difference   (mean test accuracy, 10 seeds)")
    for dataset in ("wine", "breast_cancer", "digits"):
        base = settings_from_words([
            f"dataset={dataset}", "dataset.val=0", "model.hidden=100", "activation=relu", "initializer=he_uniform",
            "optimizer=adam", "optimizer.lr=0.001", "training.batch_size=200", "training.epochs=200", f"training.l2={1e-4 / 200}",
        ])  # fmt: skip
        members = [dataclasses.replace(base, seed=seed) for seed in SEEDS]
        ours = [outcome.metrics["test/accuracy"] for outcome in train_together(members)]
        theirs = []
        for seed in SEEDS:
            data = prepare(base.dataset, seed, True)
            model = MLPClassifier(
                (100,), learning_rate_init=1e-3, batch_size=min(200, len(data.train.y)), alpha=1e-4, max_iter=200, random_state=seed
            )
            theirs.append(model.fit(data.train.x, data.train.y).score(data.test.x, data.test.y))
        mine, other = statistics.mean(ours), statistics.mean(theirs)
        print(f"{dataset:14s}  {mine:.4f}  {other:12.4f}  {mine - other:+10.4f}", flush=True)


if __name__ == "__main__":
    main()
