"""The C functions: those of components at the edges, and the elementary ones they are made of."""

from __future__ import annotations

import ctypes
import itertools
import math
import re
import subprocess

import numpy as np
import pytest
import torch
from harness import FULL
from loss_edges import cases
from tiers import subset_by_default
from torch import Tensor

from mlplab import randomness
from mlplab.losses import LOSSES
from mlplab.native import arguments, compiler, function, kernel, library_cache, sources
from mlplab.native.generating import HEAD, functions_of
from mlplab.native.limits import LANES, LEARNED, MAX_NUMBERS, MAX_SCRATCH_ROWS, MAX_STATES
from mlplab.native.variants import COMPONENTS, function_name, variants
from mlplab.network.activations import ACTIVATIONS
from mlplab.optimizers import OPTIMIZERS

DTYPES = {"float32": torch.float32, "float64": torch.float64}
SIZES = [0.0, 1e-30, 1e-8, 1e-3, 0.1, 0.625, 1.0, 3.0, 9.0, 20.0, 88.0, 1e4, 1e20, math.inf]
EDGES = [*SIZES, *(-x for x in SIZES), math.nan]

ELEMENTARY = {  # the largest error in units of the last digit, by dtype, and the range tested
    "exp": ({"float32": 1.1, "float64": 1.1}, (-87.0, 88.0)),
    "log": ({"float32": 1.0, "float64": 1.1}, (1e-30, 1e6)),
    "log1p": ({"float32": 2.0, "float64": 2.1}, (-0.99, 1e6)),
    "tanh": ({"float32": 2.5, "float64": 4.1}, (-12.0, 12.0)),
    "sigmoid": ({"float32": 2.5, "float64": 5.0}, (-80.0, 80.0)),
    "erf": ({"float32": 1.5, "float64": 2.1}, (-6.0, 6.0)),
    "expm1": ({"float32": 1.6, "float64": 2.1}, (-80.0, 88.0)),
    "sinh": ({"float32": 3.0, "float64": 3.1}, (-80.0, 88.0)),
    "cosh": ({"float32": 3.0, "float64": 3.1}, (-80.0, 88.0)),
    "asinh": ({"float32": 3.0, "float64": 3.0}, (-1e6, 1e6)),
    "atan": ({"float32": 2.5, "float64": 2.0}, (-30.0, 30.0)),
}


def address(array: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.data_ptr())


def test_the_files_of_the_package_hold_every_function_and_no_other():
    names = {
        name
        for group, classes in COMPONENTS.items()
        for cls in classes.values()
        for component in variants(cls)
        for name in [function_name(group, component)]
    }
    further = {name for name in sources.functions() if name.endswith(sources.SUFFIXES)}
    assert set(sources.functions()) - further == names
    assert {name.rpartition("_")[0] for name in further} <= names


def all_components():
    components = (
        (group, component)
        for group, classes in COMPONENTS.items()
        for cls in classes.values()
        for component in variants(cls)
    )
    return [(number, *item) for number, item in enumerate(components)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "group", "component"),
    subset_by_default("fuzz", all_components(), lambda number, group, c: number % 8 == 0),
    ids=lambda value: str(value) if isinstance(value, (int, str)) else type(value).__name__,
)
def test_the_files_of_the_package_agree_with_the_components(number, group, component):
    """Some of them by default, where the values of all of them are compared."""
    if not (sources.GENERATED / f"{group}.c").read_text().startswith(HEAD):
        pytest.skip("another version of torch may decompose operations in another way")
    printed = dict(functions_of(component, function_name(group, component)))
    assert printed.items() <= sources.functions().items(), "run scripts/write_native.py"
    learned = group == "activation" and component.num_parameters()
    assert len(arguments(component)) <= (LEARNED if learned else MAX_NUMBERS)


def test_the_kernel_has_enough_memory_for_every_component():
    text = (sources.KERNEL / "kernel.c").read_text()
    limits = {"NUMBERS": MAX_NUMBERS, "STATES": MAX_STATES, "SCRATCH_ROWS": MAX_SCRATCH_ROWS}
    for name, limit in limits.items():
        assert re.search(rf"#define {name} {limit}\b", text)
    stored = [text.count("scratch += rows") for text in sources.functions().values()]
    assert 1 < max(stored) <= MAX_SCRATCH_ROWS
    for optimizer in (o for cls in COMPONENTS["optimizer"].values() for o in variants(cls)):
        assert len(optimizer.init(torch.zeros(1, 3))) <= MAX_STATES


def test_every_component_is_native_unless_it_declares_a_reason():
    tables = {"activation": ACTIVATIONS, "loss": LOSSES, "optimizer": OPTIMIZERS}
    others = {
        (group, name): cls.eager_only
        for group, table in tables.items()
        for name, cls in table.items()
        if name not in COMPONENTS[group]
    }
    assert others.pop(("loss", "auto")) == ""  # stands for another loss
    assert set(others) == {("optimizer", "torch")}
    assert all(others.values())


def numbers_of(component, learned: float = 0.0) -> Tensor:
    """The numbers that the functions of a component take."""
    numbers = torch.zeros(MAX_NUMBERS, dtype=torch.float64)
    numbers[LEARNED] = learned
    for index, key in enumerate(arguments(component)):
        numbers[index] = float(getattr(component, key))
    return numbers


def call(name: str, dtype: str, count: int, *arrays: Tensor, suffix: str = "") -> None:
    address_of = function(name, dtype, suffix)
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_int, *[ctypes.c_void_p] * len(arrays))
    prototype(address_of)(count, *map(address, arrays))


@pytest.mark.parametrize("name", COMPONENTS["activation"])
def test_value_and_derivative_of_an_activation_at_the_edges(name):
    for dtype, activation in itertools.product(DTYPES, variants(COMPONENTS["activation"][name])):
        z = torch.tensor([*EDGES, 0.3], dtype=DTYPES[dtype])  # no multiple of a vector's width
        learned = torch.full_like(z, 0.25, requires_grad=True)
        h, d, value, slope = (torch.empty_like(z) for _ in range(4))
        names, numbers = function_name("activation", activation), numbers_of(activation, 0.25)
        call(names, dtype, len(z), z, h, d, numbers)
        call(names, dtype, len(z), z, value, numbers, suffix="_value")
        eager_z = z.clone().requires_grad_()
        learns = activation.num_parameters() > 0
        eager_h = activation(eager_z.view(1, -1, 1), *([learned.view(1, -1, 1)] if learns else []))
        eager_h.sum().backward()
        # the sine of 1e20 is that of the angle 0 in C
        kept = torch.ones_like(z) > 0
        if name in ("sine", "snake"):
            kept = (z.abs() < 1e19) | ~z.isfinite()
        eager_h = eager_h.detach().flatten()
        assert_close(h[kept], eager_h[kept], z[kept], names, dtype)
        assert torch.equal(h.nan_to_num(), value.nan_to_num())
        assert_close(d[kept], eager_z.grad[kept], torch.ones_like(z)[kept], names, dtype)
        if learns:
            call(names, dtype, len(z), z, slope, numbers, suffix="_slope")
            assert_close(slope, learned.grad, z, names, dtype)


def assert_close(ours: Tensor, eager: Tensor, scale: Tensor, name: str, dtype: str) -> None:
    """Equal within a few units of the last digit of the input or the result."""
    ours, eager, scale = ours.double(), eager.double(), scale.double()
    same = (ours == eager) | (ours.isnan() & eager.isnan())
    size = torch.maximum(eager.abs(), scale.abs().clamp(max=100.0).nan_to_num(nan=0.0))
    near = (ours - eager).abs() <= 8 * torch.finfo(DTYPES[dtype]).eps * size
    # torch's float32 gelu of infinity is NaN where its definition is infinity
    accepted = scale.isinf() if name.startswith("activation_gelu") else torch.zeros_like(same)
    wrong = ~(same | near | accepted)
    assert not wrong.any(), (name, scale[wrong], ours[wrong], eager[wrong])


def in_lanes(values: Tensor) -> Tensor:
    """[B, C] as [C, LANES]; the last one is repeated."""
    return torch.cat([values, values[-1:].expand(LANES - len(values), -1)]).T.contiguous()


@pytest.mark.parametrize("name", COMPONENTS["loss"])
def test_value_gradient_and_prediction_of_a_loss_at_the_edges(name):
    for dtype, loss in itertools.product(DTYPES, variants(COMPONENTS["loss"][name])):
        for outputs_1BC, targets in cases(loss):
            o_BC = outputs_1BC[0].to(DTYPES[dtype])
            y = targets[0] if targets.dtype == torch.int64 else targets[0].to(o_BC)
            for block in (slice(LANES), slice(LANES, None)):
                assert_loss_close(loss, o_BC[block], y[block], dtype)


def assert_loss_close(loss, o_BC: Tensor, y: Tensor, dtype: str) -> None:
    name, numbers = function_name("loss", loss), numbers_of(loss)
    count, is_class = len(o_BC), y.ndim == 1
    eager_o = o_BC.clone().requires_grad_()
    eager = loss(eager_o.unsqueeze(0), y.unsqueeze(0))[0]
    eager.sum().backward()
    o = in_lanes(o_BC)
    lane_y = in_lanes(y.unsqueeze(1))[0].int() if is_class else in_lanes(y)
    rows = len(o) if is_class else len(lane_y)
    value, alone, gradient = torch.empty_like(o[0]), torch.empty_like(o[0]), torch.empty_like(o)
    scratch = torch.empty(MAX_SCRATCH_ROWS * rows, LANES, dtype=o.dtype)
    call(name, dtype, rows, o, lane_y, value, gradient, scratch, numbers)
    call(name, dtype, rows, o, lane_y, alone, scratch, numbers, suffix="_value")
    assert_close(value[:count], eager.detach(), o_BC.abs().amax(1), name, dtype)
    assert torch.equal(value.nan_to_num(), alone.nan_to_num())
    for mine, theirs in zip(gradient, eager_o.grad.T, strict=True):
        assert_close(mine[:count], theirs, torch.ones(count), name, dtype)
    if function(name, dtype, "_prediction"):
        values = torch.empty_like(lane_y)
        call(name, dtype, rows, o, values, scratch, numbers, suffix="_prediction")
        for mine, theirs in zip(values, loss.predict(o_BC).T, strict=True):
            assert_close(mine[:count], theirs, torch.ones(count), name, dtype)


def elementary_source() -> str:
    lines = [
        f"void test_{name}(int n, const T *restrict x, T *restrict y)"
        f" {{ EACH(i, n) y[i] = v_{name}(x[i]); }}"
        for name in (*ELEMENTARY, "sin", "cos")
    ]
    return "\n".join([sources.functions_header(), *lines, ""])


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("dtype", DTYPES)
def test_elementary_functions_are_accurate(dtype):
    define = "#define DOUBLE\n" if dtype == "float64" else ""
    library = library_cache.load(define + elementary_source())
    for name, (limits, (low, high)) in ELEMENTARY.items():
        small = torch.logspace(-20, 0, 10001, dtype=DTYPES[dtype])
        x = torch.cat([torch.linspace(low, high, 40001, dtype=DTYPES[dtype]), small])
        y = torch.empty_like(x)
        getattr(library, f"test_{name}")(len(x), address(x), address(y))
        exact = torch.from_numpy(
            np.array(
                [reference(name, value) for value in x.double().tolist()], np.longdouble
            ).astype(np.float64)
        )
        digit = torch.from_numpy(np.spacing(np.abs(exact.to(x.dtype).numpy()))).double()
        assert float(((y.double() - exact).abs() / digit).max()) <= limits[dtype], name


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("dtype", DTYPES)
def test_sine_and_cosine_are_accurate_as_far_as_numbers_tell_angles_apart(dtype):
    library = library_cache.load(sources.dtype_line(dtype) + elementary_source())
    far = 2.0**22 if dtype == "float32" else 2.0**48
    x = torch.cat([torch.linspace(-1e3, 1e3, 40001), torch.linspace(-far, far, 4001)])
    x = x.to(DTYPES[dtype])
    for name in ("sin", "cos"):
        y = torch.empty_like(x)
        getattr(library, f"test_{name}")(len(x), address(x), address(y))
        exact = torch.tensor(
            [getattr(math, name)(value) for value in x.double().tolist()], dtype=torch.float64
        )
        assert float((y.double() - exact).abs().max()) <= torch.finfo(x.dtype).eps
    beyond = torch.tensor([2 * far, math.inf, math.nan], dtype=x.dtype)
    y = torch.empty_like(beyond)
    library.test_cos(3, address(beyond), address(y))
    assert y[0] == 1
    assert y[1:].isnan().all()


def reference(name: str, x: float) -> float:
    if name == "sigmoid":
        return 1 / (1 + math.exp(-x))
    return float(getattr(math, name)(x))


@pytest.mark.campaign("fuzz")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_function_is_vectorized(dtype, tmp_path):
    program = compiler.find()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    if "Free Software Foundation" not in version.stdout:
        pytest.skip("only gcc reports which loops it has vectorized")
    names = [name for name in sources.functions() if "optimizer" not in name]
    if not FULL:  # those of an evaluation are parts of those of a step
        names = [name for name in names if not name.endswith("_value")]
    names += [f"optimizer_{name}" for name in COMPONENTS["optimizer"]]
    names += ["optimizer_sgd__momentum", "optimizer_rmsprop__centered"]
    define = "#define DOUBLE\n" if dtype == "float64" else ""
    text = "\n".join([define + elementary_source(), *(sources.functions()[n] for n in names)])
    (tmp_path / "all.c").write_text(text)
    flags = [*compiler.FLAGS, "-march=native", "-fopt-info-vec-optimized", "-fno-ipa-icf"]
    command = [program, *flags, "all.c", "-o", "all.so"]
    report = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stderr
    vectorized = {int(line.split(":")[1]) for line in report.splitlines() if "vectorized" in line}
    lines = text.splitlines()
    loops = [number for number, line in enumerate(lines, 1) if "  EACH(" in line]
    moves = {  # loops that only set 0 or copy, which the compiler may turn into a call
        number
        for number in loops
        if all(re.fullmatch(r"[^=]+ = (0|\w+\[.*\]);", text) for text in body(lines, number))
    }
    scalar = [number for number in loops if number not in vectorized and number not in moves]
    assert len(loops) > 40
    assert not scalar, [lines[number] for number in scalar]


def body(lines: list[str], number: int) -> list[str]:
    """The statements of the loop that starts at this line."""
    end = next(i for i in range(number, len(lines)) if lines[i].strip() == "}")
    return lines[number:end]


@pytest.mark.parametrize("num_examples", [1, 2, 7, 31, 32, 33, 50, 127, 128, 500, 777, 5000])
def test_the_order_of_examples_is_that_of_the_eager_engine(num_examples):
    keys_K1 = randomness.keys([1, 2**31], "order")
    shifts = torch.empty(10000, dtype=torch.int32)
    index = torch.empty(num_examples, dtype=torch.int32)
    for epoch in (1, 2, 1000):
        expected_KB = randomness.ExampleOrder(keys_K1, epoch, num_examples).at(
            torch.arange(num_examples)
        )
        for key, expected_B in zip(keys_K1.flatten().tolist(), expected_KB, strict=True):
            kernel("float32").order_of_epoch(
                ctypes.c_int64(key),
                ctypes.c_int64(epoch),
                num_examples,
                address(shifts),
                address(index),
            )
            assert torch.equal(index.long(), expected_B)
