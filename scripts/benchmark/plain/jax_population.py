"""A population of networks in JAX, for step_cost.py: vmap over networks, scan over steps.

It trains 2-6-6-2 tanh networks with cross-entropy and Adam on 500 points, in shuffled batches of
32, without evaluations. It needs only jax, so step_cost.py starts it with another interpreter.
For each line of the input, a number of networks, it trains that many and prints the microseconds
per step and network; the first time for a number includes the compilation.
"""

import argparse
import os
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp

NUM_POINTS, BATCH, WIDTHS = 500, 32, (2, 6, 6, 2)
NUM_BATCHES = NUM_POINTS // BATCH
LR, BETA1, BETA2, EPSILON = 0.01, 0.9, 0.999, 1e-8


def logits(theta, x):
    *hidden, last = theta
    for weight, bias in hidden:
        x = jnp.tanh(x @ weight + bias)
    return x @ last[0] + last[1]


def loss(theta, x, y):
    log_p = jax.nn.log_softmax(logits(theta, x))
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))


def adam(state, batch):
    theta, first, second, step = state
    step = step + 1
    gradient = jax.grad(loss)(theta, *batch)
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradient)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradient)
    rate = LR * jnp.sqrt(1 - BETA2**step) / (1 - BETA1**step)
    theta = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), theta, first, second
    )
    return theta, first, second, step


def initial(key):
    keys = jax.random.split(key, len(WIDTHS) - 1)
    return [
        (jax.random.normal(k, (inputs, outputs)) / jnp.sqrt(inputs), jnp.zeros(outputs))
        for k, inputs, outputs in zip(keys, WIDTHS, WIDTHS[1:], strict=False)
    ]


@partial(jax.jit, static_argnums=(3,))
def train(keys, x, y, num_epochs):
    """The weights of one network for each key."""

    def one(key):
        theta = initial(key)
        zeros = jax.tree.map(jnp.zeros_like, theta)

        def epoch(state, epoch_key):
            order = jax.random.permutation(epoch_key, NUM_POINTS)[: NUM_BATCHES * BATCH]
            batches = order.reshape(NUM_BATCHES, BATCH)
            state, _ = jax.lax.scan(lambda s, i: (adam(s, (x[i], y[i])), None), state, batches)
            return state, None

        state, _ = jax.lax.scan(
            epoch, (theta, zeros, zeros, 0.0), jax.random.split(key, num_epochs)
        )
        return state[0]

    return jax.vmap(one)(keys)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    # XLA has a thread for each processor that the process may use when it starts
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    x = jax.random.normal(jax.random.key(0), (NUM_POINTS, WIDTHS[0]))
    y = (jnp.linalg.norm(x, axis=1) > 1).astype(jnp.int32)
    for line in sys.stdin:
        num_networks = int(line)
        epochs = arguments.epochs * (60 if num_networks == 1 else 1)
        keys = jax.random.split(jax.random.key(1), num_networks)
        start = time.perf_counter()
        jax.block_until_ready(train(keys, x, y, epochs))
        seconds = time.perf_counter() - start
        print(seconds / (epochs * NUM_BATCHES * num_networks) * 1e6, flush=True)


if __name__ == "__main__":
    main()
