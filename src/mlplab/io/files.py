"""Files that are complete at every moment: written to a temporary file and renamed, or grown by
complete chunks.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from mlplab.io.links import refuse_links
from mlplab.io.locks import try_lock

if TYPE_CHECKING:
    from torch import Tensor

_NEW_FILE_FLAGS = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exhausted quota, and the limit on the size of a file."""


@contextlib.contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Add `path` to the error of a full disk: a write knows only its descriptor."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            error.filename = str(path)
        raise


def write_bytes_atomic(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace the contents of `path` atomically: readers see either the old file or the complete
    new one, even after a crash.

    The temporary file is created in the same folder, so that the rename never crosses file systems,
    and gets the user's umask. With `durable`, the file and then its folder are flushed to disk, so
    that a power loss cannot undo the write.
    """
    with open_atomic(path, durable=durable) as (_, file):
        file.write(data)


@contextlib.contextmanager
def open_atomic(path: Path, *, durable: bool = False) -> Iterator[tuple[Path, BinaryIO]]:
    """Context manager that yields a temporary path and its open file, and renames it to `path` at
    the end.

    If the body raises, the temporary file is deleted and `path` stays unchanged. `durable` is as in
    `write_bytes_atomic`.
    """
    with naming_full_disk(path):
        staging_path, descriptor = _create_staging(path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield staging_path, file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(staging_path, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(staging_path)
            raise
    if durable and os.name == "posix":  # other systems cannot open a folder
        _sync_folder(path.parent)


def _create_staging(folder: Path) -> tuple[Path, int]:
    """Create and lock a temporary file; return its path and descriptor.

    Another process may take the file for a leftover and delete it before it is locked.
    """
    while True:
        path = folder / f".tmp-{os.getpid()}-{os.urandom(4).hex()}"
        descriptor = os.open(path, _NEW_FILE_FLAGS, 0o666)
        try:
            if try_lock(descriptor) and os.path.lexists(path):
                return path, descriptor
        except OSError:  # no locks, so that leftovers are kept
            return path, descriptor
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of killed processes from a folder: the lock of a process ends with
    it.
    """
    for path in folder.glob(".tmp-*"):
        if re.fullmatch(r"\.tmp-\d+-[0-9a-f]{8}", path.name) and not path.is_symlink():
            with contextlib.suppress(OSError), open(path, "rb") as file:
                if try_lock(file.fileno()):
                    path.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_atomic(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a text file atomically: UTF-8, line feeds."""
    write_bytes_atomic(path, text.encode(), durable=durable)


def write_json(path: Path, value: object, *, durable: bool = False) -> None:
    """Write standard JSON atomically; NaN and infinities, which JSON lacks, become null."""
    write_text_atomic(path, json_text(value) + "\n", durable=durable)


def json_text(value: object) -> str:
    """Return standard JSON; NaN and infinities become null."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def write_yaml(path: Path, value: object, *, durable: bool = False) -> None:
    """Write dicts, lists, strings and numbers as YAML atomically, keys in their order.

    Reading the file gives the same values and types.
    """
    write_text_atomic(path, yaml_text(value), durable=durable)


def yaml_text(value: object) -> str:
    """Return the text that `write_yaml` writes."""
    import yaml

    return yaml.dump(
        value,
        Dumper=_dumper(),
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=120,
    )


def yaml_line(value: Any, text: Callable[[str], str] = json.dumps) -> str:
    """Return a value as one line that YAML 1.1 parsers read back as the same value: JSON, except
    that a float needs a decimal point, or 1e-08 would be a string. `text` writes strings and keys.
    """
    if isinstance(value, Mapping):
        items = (f"{text(str(key))}: {yaml_line(item, text)}" for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(yaml_line(item, text) for item in value) + "]"
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return text(value) if isinstance(value, str) else json.dumps(value)


MAX_DEPTH = 64
"""Nesting of JSON and YAML. Ours has some ten levels; the code that walks through it recurses."""
MAX_BYTES = 1 << 28
"""Size of a JSON or YAML text: far above the plan of the largest sweep."""


def parse_yaml(text: str) -> Any:
    """Parse YAML into plain values with PyYAML's safe loader (the C version if available).

    Raises ValueError for a text that is too large or too deep, or whose aliases repeat more entries
    than the text has characters.
    """
    import yaml

    _check_size(text)
    # before anything is composed: the C version recurses until the stack overflows
    if count_yaml_entries(text, limit := 2 * len(text) + 2) > limit:
        raise ValueError("its aliases repeat more entries than the file has characters")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def count_yaml_entries(text: str, limit: int) -> int:
    """Return the number of entries of a YAML text, counting those that aliases repeat; the count
    ends soon after `limit`.

    Raises ValueError for a text that is too deep, and yaml.YAMLError for one that is not YAML.
    """
    import yaml

    sizes: dict[str | None, int] = {}  # of each anchor; those of nodes without one are not used
    total = 0
    open_anchors: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            open_anchors.append((event.anchor, total))
            if len(open_anchors) > MAX_DEPTH:
                raise _too_deep()
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_anchors):
                raise ValueError("an alias in it repeats itself without end")
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_anchors.pop()
            sizes[anchor] = total - before
        if total > limit:
            break
    return total


def parse_json(data: bytes | str) -> Any:
    """Parse JSON. Raises ValueError for a text that is invalid, too large or too deep."""
    _check_size(data)
    try:
        value = json.loads(data)
    except RecursionError:
        raise _too_deep() from None
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, (dict, list))
        ]
    if level:
        raise _too_deep()
    return value


def parse_json_lines(lines: Sequence[bytes]) -> list[Any]:
    """Parse one JSON value a line, many times as fast as each for itself. Raises ValueError as
    `parse_json` does.
    """
    if all(map(_is_shallow, lines)):
        _check_size(text := b"[" + b",".join(lines) + b"]")
        values: list[Any] = json.loads(text)
        if len(values) == len(lines):
            return values
    return [parse_json(line) for line in lines]


def _is_shallow(line: bytes) -> bool:
    """Whether a line of JSON is certainly not too deep, and leaves open nothing in which the lines
    after it would be; brackets in its texts count, too.
    """
    opened = line.count(b"[") + line.count(b"{")
    return opened < MAX_DEPTH and opened == line.count(b"]") + line.count(b"}")


def _check_size(text: bytes | str) -> None:
    if len(text) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


@cache
def _dumper() -> Any:
    """PyYAML's safe dumper that also quotes strings that OmegaConf would read as numbers.

    A float in YAML 1.1 needs a decimal point and a signed exponent, so PyYAML leaves the string
    1e-3 unquoted; OmegaConf reads that as 0.001.
    """
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def ignore_aliases(self, data: object) -> bool:
            return True

    number = re.compile(r"[-+]?(\d[\d_]*)?\.?[\d_]*([eE][-+]?\d+)?$")
    Dumper.add_implicit_resolver("!number", number, list("-+.0123456789"))
    return Dumper


class Closing:
    """A resource that is closed at the end of its `with` block."""

    def close(self) -> None:
        """Release the resource; closing it again does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AppendFile(Closing):
    """A file that grows by complete chunks.

    When `append` returns, the operating system has the chunk; if it fails (a full disk), the file
    is unchanged. Raises FileExistsError if the file exists, unless `resume` is set, and LinkError
    if the path is a symbolic link.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        refuse_links([path])
        self._descriptor = os.open(
            path,
            _NEW_FILE_FLAGS & ~(os.O_CREAT | os.O_EXCL) | getattr(os, "O_NOFOLLOW", 0)
            if resume
            else _NEW_FILE_FLAGS,
            0o666,
        )
        self._size = os.lseek(self._descriptor, 0, os.SEEK_END)

    def append(self, data: bytes) -> None:
        """Append one chunk, or leave the file unchanged if that fails."""
        rest = memoryview(data)
        try:
            with naming_full_disk(self.path):
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                self.truncate(self._size)
            raise
        self._size += len(data)

    def truncate(self, size: int) -> None:
        """Cut the file to its first `size` bytes."""
        os.ftruncate(self._descriptor, size)
        self._size = os.lseek(self._descriptor, size, os.SEEK_SET)

    def sync(self) -> None:
        """Wait until the data is on the disk."""
        with naming_full_disk(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; closing it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, durable: bool = False
) -> None:
    """Write tensors and string metadata as a safetensors file; equal input gives equal bytes."""
    write_bytes_atomic(path, weights_bytes(tensors, metadata), durable=durable)


def weights_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return what `save_weights` writes."""
    from safetensors.torch import save

    cpu_tensors = {
        name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()
    }
    return with_sorted_metadata(save(cpu_tensors, metadata=dict(metadata)))


def with_sorted_metadata(blob: bytes) -> bytes:
    """Sort the metadata of a safetensors file, whose order otherwise changes from call to call.

    The format: length of the header (8 bytes, little-endian), the header as JSON padded with spaces
    to a multiple of 8, the data.
    """
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + blob[8 + length :]


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors (on the CPU) and the metadata of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = file.keys()  # not a dict: it cannot be iterated over
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
