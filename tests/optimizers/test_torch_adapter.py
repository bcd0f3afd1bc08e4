"""The adapter: any class of torch.optim, on one network."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from mlplab.errors import FieldError
from mlplab.optimizers import OPTIMIZERS, TorchOptimizer
from mlplab.optimizers.adapter import available

UNFIT = ("Muon", "SparseAdam")


class Reusing:
    """An objective that returns the same memory at every call, like the training objective."""

    def __init__(self, problem, step=1):
        self.problem, self.step, self.calls, self.memory_KP = problem, step, 0, None

    def __call__(self, theta_KP):
        self.calls += 1
        loss_K, gradient_KP = self.problem(theta_KP, self.step)
        if self.memory_KP is None:
            self.memory_KP = torch.empty_like(gradient_KP)
        return loss_K, self.memory_KP.copy_(gradient_KP)


@pytest.mark.parametrize(
    "options", [{}, {"line_search_fn": "strong_wolfe"}, {"max_iter": 5, "history_size": 3}]
)
def test_lbfgs_equals_torchs(options, problem):
    parameter_P = torch.nn.Parameter(problem.start(1)[0])
    theirs = torch.optim.LBFGS([parameter_P], lr=0.5, **options)

    ours, theta_KP = TorchOptimizer(lr=0.5, options=options), problem.start(1)
    state, objective = ours.init(theta_KP), Reusing(problem)
    for step in range(1, 9):
        objective.step = step // 3

        def closure(t=step // 3):
            loss_K, gradient_KP = problem(parameter_P.detach()[None], t)
            parameter_P.grad = gradient_KP[0].clone()
            return loss_K[0]

        expected = theirs.step(closure)
        theta_KP, state, loss_K = ours.step(theta_KP, objective, state, step, 0.5)
        assert_close(loss_K, expected.reshape(1), rtol=0, atol=1e-12)
        assert_close(theta_KP[0], parameter_P.detach(), rtol=0, atol=1e-12)
    assert objective.calls > 8


@pytest.mark.usefixtures("default_float64")
@pytest.mark.parametrize("name", [name for name in available() if name not in UNFIT])
def test_every_class_that_fits_equals_itself(name, problem):
    parameter_P = torch.nn.Parameter(problem.start(1)[0])
    theirs = available()[name]([parameter_P], lr=0.02)
    ours, theta_KP = TorchOptimizer(class_name=name, lr=0.02), problem.start(1)
    state = ours.init(theta_KP)
    for step in range(1, 11):
        lr = 0.02 / step
        theirs.param_groups[0]["lr"] = lr
        parameter_P.grad = problem(parameter_P.detach()[None], step)[1][0]

        def closure(t=step):
            loss_K, gradient_KP = problem(parameter_P.detach()[None], t)
            parameter_P.grad = gradient_KP[0].clone()
            return loss_K[0]

        theirs.step(closure)
        theta_KP, state, _ = ours.step(
            theta_KP,
            lambda x, t=step: problem(x, t),
            state,
            step,
            torch.tensor([[lr]], dtype=torch.float64),
        )
    assert not torch.equal(theta_KP, problem.start(1))
    assert_close(theta_KP[0], parameter_P.detach(), rtol=0, atol=1e-12)


def test_equals_mlplabs_adam_by_update_and_by_step(problem):
    adam = OPTIMIZERS["adam"](lr=0.02, beta1=0.8, beta2=0.9)
    adapted = TorchOptimizer(class_name="Adam", lr=0.02, options={"betas": [0.8, 0.9]})
    thetas = [problem.start(1) for _ in range(3)]
    states = [adam.init(thetas[0]), adapted.init(thetas[1]), adapted.init(thetas[2])]
    for step in range(1, 31):
        objective = Reusing(problem, step)
        thetas[0], states[0], _ = adam.step(thetas[0], objective, states[0], step, 0.02)
        thetas[1], states[1], _ = adapted.step(thetas[1], objective, states[1], step, 0.02)
        thetas[2], states[2] = adapted.update(
            thetas[2], objective(thetas[2])[1], states[2], step, 0.02
        )
    for theta_KP in thetas[1:]:
        assert_close(theta_KP, thetas[0], rtol=0, atol=1e-12)


def test_follows_a_theta_that_moved_to_other_memory(problem):
    optimizer = TorchOptimizer(class_name="SGD", lr=0.1)
    theta_KP = problem.start(1)
    state = optimizer.init(theta_KP)
    moved_KP = theta_KP.clone() + 1
    gradient_KP = problem(moved_KP, 1)[1]
    expected_KP = moved_KP - 0.1 * gradient_KP
    result_KP, _, _ = optimizer.step(moved_KP, lambda x: problem(x, 1), state, 1, 0.1)
    assert_close(result_KP, expected_KP, rtol=0, atol=1e-15)
    assert torch.equal(theta_KP, problem.start(1))


def test_trains_one_network_and_keeps_its_dtype(problem):
    assert [choice for choice, kind in OPTIMIZERS.items() if kind.single_network] == ["torch"]
    theta_KP = problem.start(1, dtype=torch.float32)
    optimizer = TorchOptimizer()
    theta_KP, _, loss_K = optimizer.step(
        theta_KP, lambda x: problem(x, 1), optimizer.init(theta_KP), 1, 1.0
    )
    assert theta_KP.dtype == loss_K.dtype == torch.float32
    assert not theta_KP.requires_grad
    assert not loss_K.requires_grad


@pytest.mark.parametrize(
    ("fields", "key", "message"),
    [
        ({"class_name": "adm"}, "class_name", "Adam"),
        ({"class_name": "Optimizer"}, "class_name", "torch.optim"),
        ({"class_name": "Muon"}, "class_name", "2D"),
        ({"class_name": "SparseAdam"}, "class_name", "dense"),
        ({"options": {"max_itr": 3}}, "options", "max_iter"),
        ({"options": {"lr": 3}}, "options", "optimizer.lr"),
        ({"options": {"params": 3}}, "options", "not an option"),
        ({"options": {"max_iter": float("nan")}}, "options.max_iter", "finite"),
        ({"options": {"max_iter": {"_target_": "os.system"}}}, "options.max_iter", "finite"),
        ({"options": {"line_search_fn": "wolf"}}, "options", "strong_wolfe"),
        ({"options": [1]}, "options", "mapping"),
        ({"class_name": "Adam", "options": {"betas": [0.9, 1.5]}}, "options", "beta"),
    ],
)
def test_invalid_fields_are_rejected(fields, key, message):
    with pytest.raises(FieldError, match=message) as caught:
        TorchOptimizer(**fields)
    assert caught.value.key == key


def test_lbfgs_rejects_a_gradient_without_its_objective(problem):
    optimizer, theta_KP = TorchOptimizer(), problem.start(1)
    with pytest.raises(TypeError, match="step"):
        optimizer.update(theta_KP, theta_KP.clone(), optimizer.init(theta_KP), 1, 1.0)
