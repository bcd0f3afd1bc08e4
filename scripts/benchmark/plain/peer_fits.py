"""Fits of a classifier by other libraries, for estimators.py and xor_population.py.

`--library` is torch (a plain loop over tensors in memory, with the fused Adam), skorch or jax (one
jitted function). Each line of the input is a JSON object with the paths of x and y (.npy), the
number of rows to train with, hidden widths, activation, epochs, batch size, lr and L2 term. The
answer is a line with the processor seconds of the fit, and the accuracies of the rows of the
training and of the others. The first fit of a shape includes what the library compiles.
"""

import argparse
import itertools
import json
import os
import sys
import time
from functools import partial

import numpy as np


def torch_network(widths, activation):
    from torch import nn

    functions = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), functions[activation]()]
    return nn.Sequential(*layers[:-1])


class Torch:
    def __init__(self, task, widths):
        import torch

        torch.manual_seed(task["seed"])
        torch.set_num_threads(1)
        self.torch, self.task = torch, task
        self.model = torch_network(widths, task["activation"])

    def fit(self, x, y):
        torch, task = self.torch, self.task
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        optimizer = torch.optim.Adam(
            self.model.parameters(), lr=task["lr"], weight_decay=task["l2"], fused=True
        )
        loss = torch.nn.CrossEntropyLoss()
        for _ in range(task["epochs"]):
            order = torch.randperm(len(x))
            batches = zip(x[order].split(task["batch"]), y[order].split(task["batch"]), strict=True)
            for x_batch, y_batch in batches:
                optimizer.zero_grad()
                loss(self.model(x_batch), y_batch).backward()
                optimizer.step()

    def predict(self, x):
        with self.torch.no_grad():
            return self.model(self.torch.from_numpy(x)).argmax(1).numpy()


class Skorch:
    def __init__(self, task, widths):
        import torch
        from skorch import NeuralNetClassifier

        torch.manual_seed(task["seed"])
        torch.set_num_threads(1)
        self.net = NeuralNetClassifier(
            torch_network(widths, task["activation"]),
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=partial(torch.optim.Adam, fused=True),
            optimizer__weight_decay=task["l2"],
            lr=task["lr"],
            max_epochs=task["epochs"],
            batch_size=task["batch"],
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )

    def fit(self, x, y):
        self.net.fit(x, y)

    def predict(self, x):
        return self.net.predict(x)


class Jax:
    def __init__(self, task, widths):
        import jax

        self.jax, self.task, self.widths = jax, task, tuple(widths)

    def fit(self, x, y):
        task, key = self.task, self.jax.random.key(self.task["seed"])
        self.theta = self.jax.block_until_ready(
            _jax_functions(self.widths, task["activation"])[0](
                key, x, y.astype(np.int32), task["epochs"], task["batch"], task["lr"], task["l2"]
            )
        )

    def predict(self, x):
        forward = _jax_functions(self.widths, self.task["activation"])[1]
        return np.asarray(forward(self.theta, x)).argmax(1)


_known = {}


def _jax_functions(widths, activation):
    """The jitted fit of one network, and its forward pass; made once for each structure."""
    if (widths, activation) not in _known:
        _known[widths, activation] = _make_jax_functions(widths, activation)
    return _known[widths, activation]


def _make_jax_functions(widths, activation):
    import jax
    import jax.numpy as jnp

    function = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[activation]

    def forward(theta, x):
        *hidden, last = theta
        for weight, bias in hidden:
            x = function(x @ weight + bias)
        return x @ last[0] + last[1]

    def objective(theta, x, y, l2):
        log_p = jax.nn.log_softmax(forward(theta, x))
        squares = sum((weight**2).sum() for weight, _ in theta)
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean() + l2 / 2 * squares

    @partial(jax.jit, static_argnums=(3, 4))
    def fit(key, x, y, epochs, batch, lr, l2):
        num_batches = len(x) // batch
        keys = jax.random.split(key, len(widths) - 1)
        theta = [
            (jax.random.normal(k, (i, o)) * jnp.sqrt(2 / (i + o)), jnp.zeros(o))
            for k, i, o in zip(keys, widths, widths[1:], strict=False)
        ]
        zeros = jax.tree.map(jnp.zeros_like, theta)

        def step(state, rows):
            theta, first, second, t = state
            gradient = jax.grad(objective)(theta, x[rows], y[rows], l2)
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
            t = t + 1
            rate = lr * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            theta = jax.tree.map(
                lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), theta, first, second
            )
            return (theta, first, second, t), None

        def epoch(state, epoch_key):
            order = jax.random.permutation(epoch_key, len(x))[: num_batches * batch]
            return jax.lax.scan(step, state, order.reshape(num_batches, batch))

        start = (theta, zeros, zeros, 0.0)
        state, _ = jax.lax.scan(epoch, start, jax.random.split(key, epochs))
        return state[0]

    return fit, jax.jit(forward)


LIBRARIES = {"torch": Torch, "skorch": Skorch, "jax": Jax}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, required=True)
    library = LIBRARIES[parser.parse_args().library]
    if (
        library is Jax
    ):  # XLA has a thread for each processor that the process may use when it starts
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    for line in sys.stdin:
        task = json.loads(line)
        x, y, rows = np.load(task["x"]), np.load(task["y"]), task["rows"]
        widths = [x.shape[1], *task["hidden"], int(y.max()) + 1]
        start = time.process_time()
        model = library(task, widths)
        model.fit(x[:rows], y[:rows])
        seconds = time.process_time() - start
        hits = model.predict(x) == y
        scores = [float(hits[:rows].mean()), float(hits[rows:].mean()) if rows < len(x) else None]
        print(json.dumps({"seconds": seconds, "scores": scores}), flush=True)


if __name__ == "__main__":
    main()
