"""Compiled libraries: compiled once, complete or absent, never loaded from others."""

from __future__ import annotations

import os
import time
import warnings

import pytest

from mlplab.native import NativeError, compiler, library_cache

SOURCE = "int answer(void) { return 42; }\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mlplab" / "native"


@pytest.fixture
def compilations(monkeypatch):
    """The number of compilations so far, as the length of a list."""
    done = []
    compile_library = compiler.compile_library

    def counted(*arguments):
        done.append(arguments)
        compile_library(*arguments)

    monkeypatch.setattr(compiler, "compile_library", counted)
    return done


def test_a_library_is_compiled_once_into_a_private_folder(cache, compilations):
    for _ in range(2):
        assert library_cache.load(SOURCE).answer() == 42
    assert len(compilations) == 1
    assert cache.stat().st_mode & 0o777 == 0o700
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock", ".so"]


def test_a_long_compilation_is_announced_once(capsys):
    for _ in range(2):
        library_cache.load(SOURCE, "compiling")
    assert capsys.readouterr().err.count("compiling") == 1


def test_another_source_is_another_library(compilations):
    library_cache.load(SOURCE)
    assert library_cache.load(SOURCE.replace("42", "43")).answer() == 43
    assert len(compilations) == 2


def replace_content(path, content):
    """Replace a file: to overwrite one that is loaded would damage this process."""
    other = path.with_name("other")
    other.write_bytes(content)
    other.chmod(0o600)
    other.rename(path)


def truncate(path):
    replace_content(path, path.read_bytes()[:-1])


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace_content(path, content)


def make_writable_for_others(path):
    path.chmod(0o666)


def replace_by_a_link(path):
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize(
    "damage", [truncate, change_a_byte, make_writable_for_others, replace_by_a_link]
)
def test_a_damaged_or_foreign_file_is_compiled_again(cache, compilations, damage):
    library_cache.load(SOURCE)
    (path,) = cache.glob("*.so")
    damage(path)
    assert library_cache.load(SOURCE).answer() == 42
    assert len(compilations) == 2
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o022 == 0


def test_a_file_of_another_user_is_not_loaded(cache, compilations, monkeypatch):
    library_cache.load(SOURCE)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(NativeError, match="belongs to another user"):
        library_cache.load(SOURCE)
    assert len(compilations) == 1


def test_a_folder_that_others_may_write_is_refused(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(NativeError, match="others may write"):
        library_cache.load(SOURCE)


def test_a_cache_that_cannot_be_written_is_refused(cache, monkeypatch):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in its place")
    with pytest.raises(NativeError, match=str(cache)):
        library_cache.load(SOURCE)


def test_twenty_processes_that_start_at_once_share_one_compilation(cache, tmp_path):
    start = time.monotonic() + 0.2
    children = []
    for number in range(20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch has threads
            child = os.fork()
        if child == 0:
            status = 1
            try:
                time.sleep(max(0.0, start - time.monotonic()))
                compile_library = compiler.compile_library

                def counted(*arguments, number=number, call=compile_library):
                    (tmp_path / f"compiled-{number}").touch()
                    call(*arguments)

                compiler.compile_library = counted
                status = 0 if library_cache.load(SOURCE).answer() == 42 else 1
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
    assert len(list(tmp_path.glob("compiled-*"))) == 1
    assert len(list(cache.glob("*.so"))) == 1


def test_a_compiler_that_fails_is_named_with_its_first_error():
    with pytest.raises(NativeError, match=r"failed: .*error"):
        library_cache.load("this is not C\n")


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NativeError, match="no C compiler on the PATH"):
        library_cache.load(SOURCE)


def test_a_processor_without_fused_products_is_refused():
    with pytest.raises(NativeError, match="no fused multiply-add"):
        library_cache.load("#undef __FMA__\n#undef __ARM_FEATURE_FMA\n" + header())


def header() -> str:
    from mlplab.native.sources import functions_header

    return functions_header()
