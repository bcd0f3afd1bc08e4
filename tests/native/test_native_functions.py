"""The C functions: those of components at the edges, and the elementary ones they are made of."""

from __future__ import annotations

import ctypes
import math
import subprocess

import numpy as np
import pytest
import torch
from tiers import in_campaign, subset_by_default
from torch import Tensor

from mlplab import randomness
from mlplab.native import arguments, compiler, function, kernel, library_cache, sources
from mlplab.native.generating import HEAD, functions_of
from mlplab.native.library import LANES, MAX_NUMBERS
from mlplab.native.variants import COMPONENTS, function_name, variants

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
    return [
        (group, component)
        for group, classes in COMPONENTS.items()
        for cls in classes.values()
        for component in variants(cls)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "component"),
    subset_by_default(
        "fuzz", all_components(), lambda group, c: group != "optimizer" or c == type(c)()
    ),
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_files_of_the_package_agree_with_the_components(group, component):
    if not (sources.GENERATED / f"{group}.c").read_text().startswith(HEAD):
        pytest.skip("another version of torch may decompose operations in another way")
    assert dict(functions_of(group, component)).items() <= sources.functions().items(), (
        "run scripts/write_native.py"
    )
    assert len(arguments(component)) <= MAX_NUMBERS


def test_the_kernel_has_enough_memory_for_every_loss():
    text = (sources.KERNEL / "kernel.c").read_text()
    most = max(text.count("scratch += rows") for text in sources.functions().values())
    assert f"#define SCRATCH_ROWS {most}" in text


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group", ["activation"])
def test_value_and_derivative_of_activations_at_the_edges(group, dtype):
    count = len(EDGES) + 1  # not a multiple of the width of a vector
    for cls in COMPONENTS[group].values():
        for activation in variants(cls):
            z = torch.tensor([*EDGES, 0.3], dtype=DTYPES[dtype])
            h, d, value = torch.empty_like(z), torch.empty_like(z), torch.empty_like(z)
            name = function_name(group, activation)
            numbers = torch.tensor(
                [float(getattr(activation, key)) for key in arguments(activation)] + [0.0],
                dtype=torch.float64,
            )
            call(name, dtype, count, z, h, d, numbers)
            call(f"{name}_value", dtype, count, z, value, numbers)
            eager_z = z.view(1, -1, 1).clone().requires_grad_()
            eager_h = activation(eager_z)
            eager_h.sum().backward()
            assert_close(h, eager_h.detach().flatten(), z, name, dtype)
            assert torch.equal(h.nan_to_num(), value.nan_to_num())
            assert_close(d, eager_z.grad.flatten(), torch.ones_like(z), name, dtype)


def call(name: str, dtype: str, count: int, *arrays: Tensor) -> None:
    address_of = function(name, dtype)
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_int, *[ctypes.c_void_p] * len(arrays))
    prototype(address_of)(count, *map(address, arrays))


def assert_close(ours: Tensor, eager: Tensor, scale: Tensor, name: str, dtype: str) -> None:
    """Equal within a few units of the last digit of the input or the result."""
    eps = 8 * torch.finfo(DTYPES[dtype]).eps
    for mine, theirs, size in zip(ours.tolist(), eager.tolist(), scale.tolist(), strict=True):
        same = mine == theirs or (math.isnan(mine) and math.isnan(theirs))
        limit = eps * max(abs(theirs), min(abs(size), 100.0) if size == size else 0.0)
        # torch's float32 gelu of infinity is NaN where its definition is infinity
        accepted = name.startswith("activation_gelu") and math.isinf(size)
        assert same or abs(mine - theirs) <= limit or accepted, (name, size, mine, theirs)


OUTPUTS = [(2, 0.3), (1e4, -1e4), (0.0, 0.0), (1e20, 1.0), (math.inf, 0.0), (math.nan, 1.0)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_gradient_of_losses_at_the_edges(dtype):
    for cls in COMPONENTS["loss"].values():
        for loss in variants(cls):
            classifies = "classification" in loss.tasks
            num_outputs = 1 if cls is COMPONENTS["loss"]["bce"] else 2
            rows = [pair[:num_outputs] for pair in OUTPUTS] + [(0.1,) * num_outputs] * LANES
            o = torch.tensor(rows[:LANES], dtype=DTYPES[dtype]).requires_grad_()
            targets = torch.arange(LANES) % 2
            y = targets if classifies else torch.linspace(-2, 2, 2 * LANES).view(LANES, 2).to(o)
            eager = loss(o.unsqueeze(0), y.unsqueeze(0))[0]
            eager.sum().backward()
            lanes_first = o.detach().T.contiguous()
            lane_y = y.int() if classifies else y.T.contiguous()
            value, gradient = torch.empty(LANES).to(o), torch.empty_like(lanes_first)
            scratch = torch.empty(8 * LANES * num_outputs).to(o)
            numbers = torch.tensor(
                [float(getattr(loss, key)) for key in arguments(loss)] + [0.0], dtype=torch.float64
            )
            name = function_name("loss", loss)
            call(name, dtype, num_outputs, lanes_first, lane_y, value, gradient, scratch, numbers)
            size = o.detach().abs().amax(1)
            assert_close(value, eager.detach(), size, name, dtype)
            for c in range(num_outputs):
                assert_close(gradient[c], o.grad[:, c], torch.ones(LANES), name, dtype)


def elementary_source() -> str:
    lines = [
        f"void test_{name}(int n, const T *restrict x, T *restrict y)"
        f" {{ EACH(i, n) y[i] = v_{name}(x[i]); }}"
        for name in ELEMENTARY
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


def reference(name: str, x: float) -> float:
    if name == "sigmoid":
        return 1 / (1 + math.exp(-x))
    return float(getattr(math, name)(x))


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("dtype", ["float32", in_campaign("fuzz", "float64")])
def test_every_function_is_vectorized(dtype, tmp_path):
    program = compiler.find()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    if "Free Software Foundation" not in version.stdout:
        pytest.skip("only gcc reports which loops it has vectorized")
    names = [name for name in sources.functions() if "optimizer" not in name]
    names += ["optimizer_adam", "optimizer_sgd__momentum", "optimizer_rmsprop__centered"]
    names = [name for name in names if not name.startswith("activation_identity")]  # memcpy
    define = "#define DOUBLE\n" if dtype == "float64" else ""
    text = "\n".join([define + elementary_source(), *(sources.functions()[n] for n in names)])
    (tmp_path / "all.c").write_text(text)
    flags = [*compiler.FLAGS, "-march=native", "-fopt-info-vec-optimized"]
    command = [program, *flags, "all.c", "-o", "all.so"]
    report = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stderr
    vectorized = {int(line.split(":")[1]) for line in report.splitlines() if "vectorized" in line}
    lines = text.splitlines()
    loops = [number for number, line in enumerate(lines, 1) if "  EACH(" in line]
    fills = {  # loops that only set a constant, which the compiler may turn into a call
        number for number in loops if all(" = 0;" in text for text in body(lines, number))
    }
    scalar = [number for number in loops if number not in vectorized and number not in fills]
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
