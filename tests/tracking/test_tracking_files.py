"""Files are replaced whole or not at all, and come back as they were."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mlplab.io.files import (
    load_weights,
    save_weights,
    write_bytes_atomic,
    write_json,
    write_text_atomic,
    write_yaml,
    yaml_text,
)

CALLS = ("open", "fdopen", "fsync", "replace")


def record(monkeypatch: pytest.MonkeyPatch, fail_at: str | None = None) -> list[str]:
    """The os calls of a write in their order; one of them fails."""
    calls: list[str] = []
    for name in CALLS:
        real = getattr(os, name)

        def call(*args: object, name: str = name, real: object = real, **more: object) -> object:
            kind = f"{name} folder" if name == "open" and args[1] == os.O_RDONLY else name
            calls.append(kind)
            if kind == fail_at:
                raise OSError(28, "No space left on device")
            return real(*args, **more)  # type: ignore[operator]

        monkeypatch.setattr(os, name, call)
    return calls


def test_a_durable_file_is_on_disk_before_it_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record(monkeypatch)
    write_bytes_atomic(tmp_path / "a", b"new", durable=True)
    assert calls == ["open", "fdopen", "fsync", "replace", "open folder", "fsync"]


@pytest.mark.parametrize("fail_at", CALLS)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    fail_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")
    record(monkeypatch, fail_at)
    with pytest.raises(OSError, match="No space"):
        write_text_atomic(tmp_path / "a", "new", durable=True)
    monkeypatch.undo()
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    script = (
        "import resource, sys, importlib.util as u; from pathlib import Path\nspec ="
        " u.spec_from_file_location('files', sys.argv[1]); m = u.module_from_spec(spec);"
        " spec.loader.exec_module(m)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000,"
        " 1000))\nm.write_bytes_atomic(Path(sys.argv[2]), b'x' * 5000)"
    )
    (tmp_path / "a").write_text("old")
    module = Path(sys.modules["mlplab.io.files"].__file__ or "")
    done = subprocess.run(
        [sys.executable, "-c", script, str(module), str(tmp_path / "a")],
        capture_output=True,
        text=True,
    )
    assert "File too large" in done.stderr
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_planted_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sentinel").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "sentinel")
    write_text_atomic(tmp_path / "a", "new")
    assert (tmp_path / "sentinel").read_text() == "mine"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_files_follow_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_text_atomic(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_a_missing_folder_is_not_recreated(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text_atomic(tmp_path / "gone" / "a", "x")
    assert os.listdir(tmp_path) == []


def test_json_is_strict_and_keeps_order(tmp_path: Path) -> None:
    write_json(
        tmp_path / "a.json",
        {"b": [math.nan, 1e-5], "a": {"x": math.inf, "y": "ä"}, "c": (True, None, 3)},
    )
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "b": [None, 1e-5],
        "a": {"x": None, "y": "ä"},
        "c": [True, None, 3],
    }
    assert text.index('"b"') < text.index('"a"')


STRINGS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | STRINGS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(PLAIN)
def test_yaml_comes_back_as_the_same_values_and_types(value: object) -> None:
    back = yaml.safe_load(yaml_text({"key": value}))["key"]
    assert repr(back) == repr(value)


ODD = [
    "1e-3",
    "1e5",
    "+1E5",
    "1_0",
    "1.5",
    "yes",
    "null",
    "2024-01-01",
    "1:30",
    ".inf",
    "a: b",
    "#x",
    "",
    " x",
    "é",
]


@pytest.mark.parametrize("value", ODD)
def test_a_text_stays_a_text_for_omegaconf(value: str, tmp_path: Path) -> None:
    write_yaml(tmp_path / "c.yaml", {"text": value, "numbers": [1e-05, 1e22, 0.1, 3, True, None]})
    loaded = OmegaConf.to_container(OmegaConf.load(tmp_path / "c.yaml"))
    assert loaded == {"text": value, "numbers": [1e-05, 1e22, 0.1, 3, True, None]}
    assert repr(loaded["numbers"]) == "[1e-05, 1e+22, 0.1, 3, True, None]"


def test_yaml_keeps_the_order_and_repeats_what_is_shared(tmp_path: Path) -> None:
    shared = [1, 2]
    write_yaml(tmp_path / "c.yaml", {"z": shared, "a": shared})
    assert (tmp_path / "c.yaml").read_text() == "z:\n- 1\n- 2\na:\n- 1\n- 2\n"


def test_weights_come_back_and_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    theta_KP = torch.randn(3, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tensors = {"0.weight": theta_KP[1, :6].view(2, 3).T, "0.bias": theta_KP[1, 6:9]}
    metadata = {f"key_{n}": str(n) for n in range(8)}
    for name in ("a", "b"):
        save_weights(
            tmp_path / name, tensors, metadata if name == "a" else dict(reversed(metadata.items()))
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded, texts = load_weights(tmp_path / "a")
    assert texts == metadata
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == torch.float64
