from __future__ import annotations

import builtins
import collections
import importlib.util
import io
import os
import pickle
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pertinent.errors import StorageError
from pertinent.models.unpickle import Stub, read_checkpoint

CONTAINERS = {"zip": True, "legacy": False}


@pytest.fixture
def vanished(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type]:
    """Make a class at a place where no module is, for as long as a file is written."""

    def make(path: str) -> type:
        module, _, name = path.rpartition(".")
        kind = type(name, (), {"__module__": module, "__qualname__": name})
        package = module.partition(".")[0]
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
        place = types.ModuleType(module)
        setattr(place, name, kind)
        monkeypatch.setitem(sys.modules, module, place)
        return kind

    return make


def save(contents: Any, path: Path, container: str, **options: Any) -> Path:
    torch.save(contents, path, _use_new_zipfile_serialization=CONTAINERS[container], **options)
    return path


def filled(kind: type, **attributes: Any) -> Any:
    thing = kind()
    vars(thing).update(attributes)
    return thing


@pytest.mark.parametrize("container", CONTAINERS)
def test_tensors_and_plain_values(tmp_path: Path, container: str):
    contents = {
        "state_dict": collections.OrderedDict(a=torch.arange(6).reshape(2, 3), b=torch.ones(2, dtype=torch.float16)),
        "epoch": 3,
        "names": ["x", ("y", None, True, 2.5)],
        "parameter": torch.nn.Parameter(torch.zeros(1)),
    }
    read = read_checkpoint(save(contents, tmp_path / "f.pt", container))
    assert read["epoch"] == 3
    assert read["names"] == ["x", ("y", None, True, 2.5)]
    assert torch.equal(read["state_dict"]["a"], contents["state_dict"]["a"])
    assert read["state_dict"]["b"].dtype == torch.float16
    assert read["parameter"].item() == 0


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", ["?", "b", "H", "i", "q", "f", "d"])
def test_arrays_and_numpy_scalars(tmp_path: Path, container: str, kind: str):
    array = np.arange(6).astype(kind).reshape(3, 2)
    read = read_checkpoint(save({"array": array, "scalar": array[1, 1]}, tmp_path / "f.pt", container))
    np.testing.assert_array_equal(read["array"], array)
    assert read["array"].dtype == array.dtype
    assert read["scalar"] == array[1, 1]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "path", ["sklearn.decomposition.pca.PCA", "utils.watcher.Watch", "omegaconf.dictconfig.DictConfig"]
)
def test_objects_of_absent_classes_keep_their_attributes(tmp_path: Path, vanished, container: str, path: str):
    thing = filled(vanished(path), mean_=np.arange(3.0), whiten=True)
    read = read_checkpoint(save({"thing": thing}, tmp_path / "f.pt", container))["thing"]
    assert isinstance(read, Stub)
    assert type(read).__name__ == path.rpartition(".")[2]
    np.testing.assert_array_equal(read.mean_, [0, 1, 2])
    assert read.whiten is True


def test_containers_of_other_kinds(tmp_path: Path, vanished):
    metadata = filled(vanished("omegaconf.base.ContainerMetadata"), key_type=str, element_type=dict)
    contents = {"defaults": collections.defaultdict(list, a=[1]), "metadata": metadata}
    read = read_checkpoint(save(contents, tmp_path / "f.pt", "zip"))
    assert read["defaults"] == {"a": [1]}
    assert issubclass(read["metadata"].key_type, Stub)


# Refusal ---------------------------------------------------------------------------------------------------------


class Command:
    """Calls anything when it is unpickled the ordinary way."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments
        self.state: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments, self.state


class Harmless:
    """A class that no checkpoint has."""


@pytest.fixture
def traps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A file that would be there if anything had been executed."""
    trace = tmp_path / "executed"
    yield trace
    assert not trace.exists()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (os.system, r"posix\.system|nt\.system"),
        (builtins.eval, r"builtins\.eval"),
        (builtins.exec, r"builtins\.exec"),
        (builtins.getattr, r"builtins\.getattr"),
        (torch.load, r"torch\.serialization\.load"),
    ],
)
def test_calls_are_refused_by_name_and_not_made(tmp_path: Path, traps: Path, container: str, call, said: str):
    words = f"__import__('pathlib').Path({str(traps)!r}).touch()"
    arguments = (f"touch {traps}",) if call is os.system else (words,)
    path = save({"state_dict": {"a": torch.zeros(1)}, "x": Command(call, *arguments)}, tmp_path / "evil.pt", container)
    with pytest.raises(StorageError, match=rf"evil\.pt is refused: it asks for ({said}).*nothing of it was executed"):
        read_checkpoint(path)


class Forged:
    """A float with the fields of an object: numpy would take its bytes for an address."""

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {"a": (Command(np.dtype, "O8", False, True), 0)}
        return np.dtype, ("f8", False, True), (3, "<", None, ("a",), fields, 8, 1, 5)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("make", [np.array(0).__reduce__()[0], np.float64(0).__reduce__()[0]])
def test_arrays_that_claim_to_hold_objects_are_refused(tmp_path: Path, container: str, make: Callable[..., Any]):
    thing = Command(make, Forged(), b"A" * 8)
    if make.__name__ == "_reconstruct":
        thing = Command(make, np.ndarray, (0,), b"b")
        thing.state = (1, (1,), Forged(), False, b"A" * 8)
    path = save({"pca": thing}, tmp_path / "f.pt", container)
    with pytest.raises(StorageError, match=r"f\.pt is refused: it holds an array of dtype 'O8'"):
        read_checkpoint(path)


@pytest.mark.parametrize("container", CONTAINERS)
def test_unknown_classes_are_refused_all_at_once(tmp_path: Path, container: str):
    path = save({"a": Harmless(), "b": collections.deque([1])}, tmp_path / "f.pt", container)
    with pytest.raises(StorageError, match=r"asks for collections\.deque, .*test_unpickle\.Harmless"):
        read_checkpoint(path)


def test_names_taken_from_the_stack_are_seen(tmp_path: Path, traps: Path):
    path = save({"x": Command(os.system, f"touch {traps}")}, tmp_path / "f.pt", "zip", pickle_protocol=4)
    with pytest.raises(StorageError, match=r"asks for (posix|nt)\.system"):
        read_checkpoint(path)


@pytest.mark.parametrize("container", CONTAINERS)
def test_names_that_the_scan_does_not_see_are_refused_by_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traps: Path, container: str
):
    path = save({"x": Command(os.system, f"touch {traps}")}, tmp_path / "f.pt", container)
    monkeypatch.setattr("pertinent.models.unpickle._names", lambda *_: set())
    with pytest.raises(StorageError, match=r"cannot be read as a torch file: .*system"):
        read_checkpoint(path)


def test_a_stub_is_never_called_as_what_it_stands_for(tmp_path: Path, vanished, traps: Path):
    kind = vanished("utils.watcher.Watch")
    kind.__init__ = lambda _, path: Path(path).touch()  # type: ignore[misc]
    read = read_checkpoint(save({"x": Command(kind, str(traps))}, tmp_path / "f.pt", "zip"))
    assert isinstance(read["x"], Stub)


# Files -----------------------------------------------------------------------------------------------------------


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def as_bytes(container: str) -> bytes:
    buffer = io.BytesIO()
    torch.save({"epoch": 7}, buffer, _use_new_zipfile_serialization=CONTAINERS[container])
    return buffer.getvalue()


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_zip_around_the_file(tmp_path: Path, container: str):
    members = {"Resnet/Resnet-101-AP-GeM.pt": as_bytes(container), "README": b"", "__MACOSX/._x.pt": b""}
    assert read_checkpoint(packed(tmp_path / "published.zip", members)) == {"epoch": 7}


def test_a_zip_must_hold_one_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StorageError, match=r"must hold one \.pt, \.pth, \.ckpt file, holds none"):
        read_checkpoint(packed(tmp_path / "none.zip", {"README": b""}))
    with pytest.raises(StorageError, match=r"holds a\.pt, b\.pth; unpack it"):
        read_checkpoint(packed(tmp_path / "two.zip", {"a.pt": b"", "b.pth": b""}))
    monkeypatch.setattr("pertinent.models.unpickle.LARGEST_MEMBER", 10)
    with pytest.raises(StorageError, match=r"a\.pt in .* claims 11 bytes"):
        read_checkpoint(packed(tmp_path / "large.zip", {"a.pt": b"x" * 11}))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("keep", [0, 5, 60, -40])
def test_cut_files(tmp_path: Path, container: str, keep: int):
    path = tmp_path / "cut.pt"
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(300)}, buffer, _use_new_zipfile_serialization=CONTAINERS[container])
    path.write_bytes(buffer.getvalue()[:keep])
    with pytest.raises(StorageError, match=r"cut\.pt (is|cannot be read as) .*torch.*fetch it again"):
        read_checkpoint(path)


@pytest.mark.parametrize("data", [b"hello", b"<html>sorry</html>", pickle.dumps({"a": 1}), bytes(range(256)) * 4])
def test_files_that_torch_did_not_write(tmp_path: Path, data: bytes):
    (tmp_path / "f.pt").write_bytes(data)
    with pytest.raises(StorageError, match=r"f\.pt (is not a file that torch wrote|cannot be read|is refused)"):
        read_checkpoint(tmp_path / "f.pt")


def test_no_file(tmp_path: Path):
    with pytest.raises(StorageError, match=r"gone\.pt does not exist; give the file that its authors published"):
        read_checkpoint(tmp_path / "gone.pt")


def test_a_folder_is_called_one(tmp_path: Path):
    with pytest.raises(StorageError, match=r"is a folder; give the file .* \.pt, \.pth, \.ckpt or a ZIP of one"):
        read_checkpoint(tmp_path)
