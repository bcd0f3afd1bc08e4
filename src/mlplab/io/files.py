"""Files that are whole at every moment: written aside and renamed, or grown by whole pieces."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from mlplab.io.links import refuse_links

if TYPE_CHECKING:
    from torch import Tensor

_NEW = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def write_bytes_atomic(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Put the bytes at `path`, replacing what was there; a reader or a crash sees the old file or
    the new one, never a part.

    The temporary file lies in the same folder, so that the rename never crosses file systems, and
    is created anew with the user's umask. `durable` waits for the disk, file first and folder
    after, so that a power loss cannot undo it.
    """
    with written_aside(path, durable=durable) as (_, file):
        file.write(data)


@contextlib.contextmanager
def written_aside(path: Path, *, durable: bool = False) -> Iterator[tuple[Path, BinaryIO]]:
    """`write_bytes_atomic` for what is written piece by piece: the name of a new file, and the file
    itself, which takes its place at the end. What fails leaves nothing.
    """
    staging_dir = path.parent / f".tmp-{os.getpid()}-{os.urandom(4).hex()}"
    descriptor = os.open(staging_dir, _NEW, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield staging_dir, file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(staging_dir, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(staging_dir)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_atomic(path: Path, text: str, *, durable: bool = False) -> None:
    """`write_bytes_atomic` for text, as UTF-8 with line feeds."""
    write_bytes_atomic(path, text.encode(), durable=durable)


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """JSON that any reader takes: the standard has no nan or infinity, so these become null."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomic(path, text + "\n", durable=durable)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def write_yaml(path: Path, value: Any, *, durable: bool = False) -> None:
    """Plain dicts, lists, texts and numbers as YAML, keys in their order; reading it gives the same
    values and types.
    """
    write_text_atomic(path, yaml_text(value), durable=durable)


def yaml_text(value: Any) -> str:
    """What `write_yaml` writes."""
    import yaml

    return yaml.dump(
        value,
        Dumper=_dumper(),
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=120,
    )


def parse_yaml(text: str) -> Any:
    """Plain values from YAML, by PyYAML's safe reader (in C where there is one)."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


@cache
def _dumper() -> Any:
    """PyYAML's safe writer (in C where there is one) that also quotes the texts which OmegaConf
    would read as numbers.

    YAML 1.1 needs a point and a signed exponent in a float and so leaves the text 1e-3 bare;
    OmegaConf reads that as 0.001.
    """
    import re

    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def ignore_aliases(self, data: object) -> bool:
            return True

    number = re.compile(r"[-+]?(\d[\d_]*)?\.?[\d_]*([eE][-+]?\d+)?$")
    Dumper.add_implicit_resolver("!number", number, list("-+.0123456789"))
    return Dumper


class AppendFile:
    """A new file that grows by whole pieces. A piece is with the operating system when `append`
    returns; one that fails (a full disk) leaves the file as it was before. An existing file is
    refused with FileExistsError, unless `resume`; a link in its place is a LinkError.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        refuse_links([path])
        self._descriptor = os.open(
            path, _NEW & ~(os.O_CREAT | os.O_EXCL) | _NO_LINK if resume else _NEW, 0o666
        )
        self._size = os.lseek(self._descriptor, 0, os.SEEK_END)

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                self.truncate(self._size)
            raise
        self._size += len(data)

    def truncate(self, size: int) -> None:
        """Cut what lies behind the first `size` bytes."""
        os.ftruncate(self._descriptor, size)
        self._size = os.lseek(self._descriptor, size, os.SEEK_SET)

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, durable: bool = False
) -> None:
    """Tensors and a few texts as a safetensors file, which any framework reads; equal input gives
    equal bytes.
    """
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_bytes_atomic(path, _ordered(save(own, metadata=dict(metadata))), durable=durable)


def _ordered(blob: bytes) -> bytes:
    """The safetensors library writes the metadata in an order that changes from call to call; here
    it is sorted.

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
    """The tensors, on the CPU, and the metadata of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = file.keys()  # not a dict: it cannot be iterated over
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
