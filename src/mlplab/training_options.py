"""How long, in what portions and under what limits a network trains: the `training` group."""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.schema import Component, Number, choice, flag, integer, number


@dataclass(frozen=True)
class Training(Component):
    """What every training style shares."""

    epochs: int = integer(100, "passes over the training part", at_least=1, varies=True)
    steps: int | None = integer(
        None,
        "parameter updates; when given it counts instead of epochs",
        at_least=1,
        optional=True,
        varies=True,
    )
    shuffle: bool = flag(True, "draw a new order of the examples each epoch")
    evaluate_every: int = integer(
        1, "epochs between two evaluations of the train and val parts", at_least=1
    )
    patience: int | None = integer(
        None,
        "stop after this many evaluations without improvement; null never stops",
        at_least=1,
        optional=True,
        varies=True,
    )
    min_delta: Number = number(
        0.0, "how much better an evaluation must be to count as an improvement", at_least=0
    )
    monitor: str = choice(
        "auto",
        ("auto", "loss", "accuracy", "r2", "rmse", "mae"),
        "metric of the val part (of train where there is none) that chooses the best weights; auto"
        " is the loss",
    )
    clip_norm: Number | None = number(
        None,
        "largest norm of a network's whole gradient; null does not clip",
        above=0,
        optional=True,
    )
    clip_value: Number | None = number(
        None,
        "largest absolute value of each gradient entry; null does not clip",
        above=0,
        optional=True,
    )
    l1: Number = number(
        0.0, "adds l1 * sum |w| over all weights, biases excluded, to the objective", at_least=0
    )
    l2: Number = number(
        0.0, "adds l2 / 2 * sum w^2 over all weights, biases excluded, to the objective", at_least=0
    )

    def portion(self, num_examples: int) -> int:
        """Examples an update uses, out of `num_examples`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Batch(Training):
    """Batch gradient descent: one update an epoch, from all training examples (the lecture's batch
    style).
    """

    def portion(self, num_examples: int) -> int:
        return num_examples


@dataclass(frozen=True)
class Sgd(Training):
    """Stochastic gradient descent: one update for each training example (the lecture's SGD
    style).
    """

    def portion(self, num_examples: int) -> int:
        return 1


@dataclass(frozen=True)
class Minibatch(Training):
    """Mini-batches: one update for each batch_size training examples (the lecture's mini-batch
    style).
    """

    batch_size: int = integer(
        32, "examples of one update; more than there are means all", at_least=1
    )
    drop_last: bool = flag(False, "leave out the last, smaller batch of an epoch")

    def portion(self, num_examples: int) -> int:
        return min(self.batch_size, num_examples)


STYLES: dict[str, type[Training]] = {"batch": Batch, "sgd": Sgd, "minibatch": Minibatch}
