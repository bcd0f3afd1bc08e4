"""Libraries that a wheel brings along: used without a compiler, with the bits of compiled ones."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from building import make_settings
from harness import FULL
from native_training import assert_same_bits, train

from mlplab.native import NativeError, compiler, library, prebuilt, sources

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not prebuilt._is_linux_x86_64() or not compiler.features() >= prebuilt.FEATURES,
    reason=f"needs a processor of {prebuilt.LEVEL}",
)


def forget_libraries():
    for cached in (library.kernel, library.function, library._component, prebuilt.load):
        cached.cache_clear()


@pytest.fixture
def no_compiler(tmp_path, monkeypatch):
    """A machine without compiler, with an empty cache, and a package without libraries."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path / "prebuilt")
    forget_libraries()
    yield
    forget_libraries()


DTYPES = ("float32", "float64") if FULL else ("float32",)
FUNCTIONS = (
    *("activation_gelu", "activation_sigmoid", "activation_silu", "activation_identity"),
    *("loss_cross_entropy", "loss_bce", "loss_mse"),
    *("optimizer_adamw", "optimizer_rmsprop", "optimizer_nag"),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The libraries of a wheel; by default without the functions that no test here uses."""
    used = {
        name: text
        for name, text in sources.functions().items()
        if FULL or (name.startswith(FUNCTIONS) and "__" not in name)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "functions", lambda: used)
        yield prebuilt.build(tmp_path_factory.mktemp("libraries"), DTYPES)


def install(built: list[Path], change=lambda content: content) -> None:
    prebuilt.FOLDER.mkdir()
    for path in built:
        (prebuilt.FOLDER / path.name).write_bytes(change(path.read_bytes()))


TRAINED = [
    make_settings(dtype=dtype, epochs=20, **choices)
    for dtype in DTYPES
    for choices in (
        {"activation": "gelu", "optimizer": "adamw"},
        {"activation": "sigmoid", "loss": "bce", "optimizer": "rmsprop"},
        {"dataset": "sine", "activation": "silu", "optimizer": "nag"},
    )
]


@pytest.mark.slow
@pytest.mark.campaign("fuzz", small=True)  # compiles all functions
def test_without_a_compiler_the_bits_are_those_of_a_compiled_library(built, request):
    compiled = [train([settings], "native")[0] for settings in TRAINED]
    request.getfixturevalue("no_compiler")
    install(built)
    for settings, outcome in zip(TRAINED, compiled, strict=True):
        assert_same_bits(train([settings], "native")[0], outcome)
    assert library.kernel("float32")._name.startswith(str(prebuilt.FOLDER))


def change_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["damage", "another source", "another processor"])
def test_a_library_that_does_not_fit_is_not_loaded(built, no_compiler, monkeypatch, fault):
    install(built, change_a_byte if fault == "damage" else lambda content: content)
    if fault == "another source":
        monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-g"))
    if fault == "another processor":
        monkeypatch.setattr(prebuilt, "FEATURES", {*prebuilt.FEATURES, "a later one"})
    with pytest.raises(NativeError, match="no C compiler on the PATH"):
        library.kernel("float32")


@pytest.mark.slow
@pytest.mark.parametrize("names", [[], ["float32-0.so"]])
def test_a_wheel_with_libraries_names_its_platform(tmp_path, names):
    for path in ("src/mlplab/__init__.py", "src/hydra_plugins", "configs", "README.md", "LICENSE"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(ROOT / path)
    for path in ("pyproject.toml", "hatch_build.py", ".gitignore"):
        (tmp_path / path).write_text((ROOT / path).read_text())
    folder = tmp_path / "src/mlplab/native/prebuilt"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name.endswith("py3-none-linux_x86_64.whl" if names else "py3-none-any.whl")
    with zipfile.ZipFile(wheel) as file:
        libraries = [name for name in file.namelist() if name.endswith(".so")]
    assert libraries == [f"mlplab/native/prebuilt/{name}" for name in names]
