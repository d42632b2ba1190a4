"""Reading files that torch wrote without running what is in them.

A pickle may name any function and call it. Here the names are read first, without executing anything: a file that
names something unknown is refused. The rest goes through torch's own `weights_only` reading, with stand-ins for
numpy's arrays, which trust a pickle (see `plain_arrays`). Objects of other people's classes come back as a `Stub`,
which holds their attributes and has no behaviour, so that neither those classes nor their libraries need be there.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from pertinent.data.plain_arrays import PlainArray, PlainDtype, plain_array, plain_scalar
from pertinent.errors import DataError, StorageError

# Inside the ZIP of a published model; larger than any of them.
LARGEST_MEMBER = 8 << 30
SUFFIXES = (".pt", ".pth", ".ckpt", ".pth.tar")

# What holds tensors and plain values. torch checks each of them again.
_PLAIN = re.compile(
    r"torch\.\w+Storage|torch\.(u?int|b?float|complex)\d+|torch\.(bool|Size|Tensor|device)|torch\.storage\.\w+Storage"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)|torch\.nn\.parameter\.Parameter"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|bytearray|complex)"
)
_STUBS = (
    "sklearn.decomposition.pca.PCA",
    "sklearn.decomposition._pca.PCA",
    "utils.watcher.Watch",
    "utils.watcher.AverageMeter",
    "dirtorch.utils.watcher.Watch",
    "dirtorch.utils.watcher.AverageMeter",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Boolean", "Float", "Integer", "String")),
    "typing.Any",
    *(f"builtins.{kind}" for kind in ("bool", "dict", "float", "int", "list", "str", "tuple")),
)


class Stub:
    """Stands for an object of a class that is not there: its attributes, without its behaviour."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(key): value for key, value in state.items()})


def read_checkpoint(path: Path) -> Any:
    """Read what `torch.save` wrote: the present container, the one before torch 1.6, or a ZIP around either.

    Args:
        path: the file; a ZIP must hold exactly one `.pt`, `.pth` or `.ckpt`.

    Returns:
        The object, its tensors on the CPU; instances of known foreign classes as `Stub`.

    Raises:
        StorageError: the file is missing, a folder or damaged, or holds something that is neither a tensor, a plain
            value, a plain array nor of one of the known classes; nothing of it was executed.
    """
    if path.is_dir():
        raise StorageError(
            f"{path} is a folder; give the file that its authors published, {', '.join(SUFFIXES[:3])} or a ZIP of one"
        )
    if not path.is_file():
        raise StorageError(f"{path} does not exist; give the file that its authors published")
    stream = _checkpoint_stream(path)
    unknown = sorted(name for name in _names(stream, path) if not _PLAIN.fullmatch(name) and name not in _FOREIGN)
    if unknown:
        raise StorageError(
            f"{path} is refused: it asks for {', '.join(unknown)}, which no known checkpoint needs; "
            "nothing of it was executed"
        )
    try:
        stream.seek(0)
        with torch.serialization.safe_globals([(known, name) for name, known in _FOREIGN.items()]):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except DataError as error:
        raise StorageError(f"{path} is refused: {error}") from error
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        # To what it found torch adds advice to read the file without care.
        reason = re.split(r"\n|\. Please use", str(error.__context__ or error))[0]
        raise StorageError(f"{path} cannot be read as a torch file: {reason}; fetch it again") from error


def _checkpoint_stream(path: Path) -> BinaryIO:
    if not zipfile.is_zipfile(path):
        return io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(path) as archive:
            if _pickle_member(archive) is not None:
                return io.BytesIO(path.read_bytes())
            members = [
                member
                for member in archive.infolist()
                if member.filename.endswith(SUFFIXES) and not member.filename.startswith("__MACOSX/")
            ]
            if len(members) != 1:
                found = ", ".join(member.filename for member in members) or "none"
                raise StorageError(f"{path} must hold one {', '.join(SUFFIXES[:3])} file, holds {found}; unpack it")
            if members[0].file_size > LARGEST_MEMBER:
                raise StorageError(f"{members[0].filename} in {path} claims {members[0].file_size:,} bytes; unpack it")
            return io.BytesIO(archive.read(members[0]))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise StorageError(f"{path} is a damaged or encrypted ZIP: {error}; fetch it again") from error


def _pickle_member(archive: zipfile.ZipFile) -> str | None:
    return next((name for name in archive.namelist() if name.count("/") <= 1 and name.endswith("data.pkl")), None)


def _names(stream: BinaryIO, path: Path) -> set[str]:
    """Every global that the pickles of a torch file name, read without executing them."""
    try:
        if not zipfile.is_zipfile(stream):
            stream.seek(0)
            # Magic number, protocol, system, object and storage keys come one after the other; then raw numbers.
            return {name for _ in range(5) for name in _globals(stream)}
        with zipfile.ZipFile(stream) as archive:
            member = _pickle_member(archive)
            if member is None:
                raise ValueError("no data.pkl inside")
            return set(_globals(io.BytesIO(archive.read(member))))
    except (ValueError, UnicodeDecodeError, IndexError, zipfile.BadZipFile, RuntimeError, EOFError, OSError) as error:
        raise StorageError(f"{path} is not a file that torch wrote, or is damaged: {error}; fetch it again") from error


def _globals(stream: BinaryIO) -> Iterator[str]:
    texts: list[str] = []
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name in {"GLOBAL", "INST"}:
            module, _, name = str(argument).partition(" ")
            # Python 3 writes the names that Python 2 would know.
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            yield f"{module}.{name}"
        elif operation.name == "STACK_GLOBAL":
            # The two texts before it are module and name; where they came from a memo, what they are is unsure.
            yield ".".join(texts[-2:]) or "something unnamed"
        elif isinstance(argument, str):
            texts.append(argument)


_FOREIGN: dict[str, Any] = {
    **{name: type(name.rpartition(".")[2], (Stub,), {}) for name in _STUBS},
    **{f"numpy.{core}.multiarray._reconstruct": plain_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": plain_scalar for core in ("core", "_core")},
    "numpy.ndarray": PlainArray,
    "numpy.dtype": PlainDtype,
    "collections.defaultdict": lambda *_: {},
}
