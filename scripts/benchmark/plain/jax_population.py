"""A population of networks in JAX: vmap over networks, scan over steps.

It trains tanh networks with cross-entropy and Adam on points in a plane, in shuffled batches of 32
without the last that is not full, and without evaluations. It needs only jax, so step_cost.py and
xor_population.py start it with another interpreter.
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

BATCH = 32
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def logits(theta, x):
    *hidden, last = theta
    for weight, bias in hidden:
        x = jnp.tanh(x @ weight + bias)
    return x @ last[0] + last[1]


def loss(theta, x, y):
    log_p = jax.nn.log_softmax(logits(theta, x))
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))


def adam(state, batch, lr):
    theta, first, second, step = state
    step = step + 1
    gradient = jax.grad(loss)(theta, *batch)
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradient)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradient)
    rate = lr * jnp.sqrt(1 - BETA2**step) / (1 - BETA1**step)
    theta = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), theta, first, second
    )
    return theta, first, second, step


def initial(key, widths):
    keys = jax.random.split(key, len(widths) - 1)
    return [
        (jax.random.normal(k, (inputs, outputs)) / jnp.sqrt(inputs), jnp.zeros(outputs))
        for k, inputs, outputs in zip(keys, widths, widths[1:], strict=False)
    ]


@partial(jax.jit, static_argnums=(3, 4))
def train(keys, x, y, num_epochs, widths, lr):
    """The weights of one network for each key."""
    num_batches = len(x) // BATCH

    def one(key):
        theta = initial(key, widths)
        zeros = jax.tree.map(jnp.zeros_like, theta)

        def epoch(state, epoch_key):
            order = jax.random.permutation(epoch_key, len(x))[: num_batches * BATCH]
            batches = order.reshape(num_batches, BATCH)
            state, _ = jax.lax.scan(lambda s, i: (adam(s, (x[i], y[i]), lr), None), state, batches)
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
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--widths", type=int, nargs="+", default=[2, 6, 6, 2])
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--single", type=int, default=60, help="times the epochs for one network")
    parser.add_argument("--processor-time", action="store_true", help="in place of wall time")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    widths, steps = tuple(arguments.widths), arguments.points // BATCH
    # XLA has a thread for each processor that the process may use when it starts
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    x = jax.random.normal(jax.random.key(0), (arguments.points, widths[0]))
    y = (jnp.linalg.norm(x, axis=1) > 1).astype(jnp.int32)
    for line in sys.stdin:
        num_networks = int(line)
        epochs = arguments.epochs * (arguments.single if num_networks == 1 else 1)
        keys = jax.random.split(jax.random.key(1), num_networks)
        start = clock()
        jax.block_until_ready(train(keys, x, y, epochs, widths, arguments.lr))
        seconds = clock() - start
        print(seconds / (epochs * steps * num_networks) * 1e6, flush=True)


if __name__ == "__main__":
    main()
