"""Pickles of plain values: what numpy writes is read as numpy reads it, what was forged is refused."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.plain_arrays import PlainArray
from pertinent.data.plain_pickle import read_plain_pickle
from pertinent.errors import DataError

RNG = np.random.default_rng(3)
GENUINE = {
    "matrix": RNG.normal(size=(3, 4)),
    "columns": np.asfortranarray(RNG.normal(size=(3, 4)).astype(np.float32)),
    "turned": RNG.integers(0, 9, (2, 3, 4)).transpose(1, 0, 2),
    "strided": np.arange(20).reshape(4, 5)[:, ::2],
    "truths": RNG.random(7) > 0.5,
    "names": np.array(["place", "Ünter den Linden", ""]),
    "bytes": np.array([b"x", b"yy"]),
    "empty": np.array([]),
    "one": np.array(3, np.uint8),
    "foreign": np.arange(4).astype(">i4"),
    "half": np.arange(3).astype(np.float16),
    "raw": b"\xff\x00",
    "no bytes": b"",
    "plain": [1, -(2**40), 2.5, None, True, "text", ("a", {"b": []})],
}


class Reduced:
    """Pickled as a call with a state, as an attacker writes it by hand."""

    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...], *state: Any) -> None:
        self.parts = (call, arguments, *state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def dtype(name: str, *state: Any) -> Reduced:
    return Reduced(np.dtype, (name, False, True), *state)


def array(kind: Any, data: Any = b"A" * 8, shape: Any = (1,)) -> Reduced:
    build = np.array(0).__reduce__()[0]
    return Reduced(build, (np.ndarray, (0,), b"b"), (1, shape, kind, False, data))


def scalar(kind: Any, data: Any = b"A" * 8) -> Reduced:
    return Reduced(np.float64(0).__reduce__()[0], (kind, data))


def state(*changes: tuple[int, Any]) -> tuple[Any, ...]:
    """The state of an honest dtype of 8 bytes, with some of its parts replaced."""
    parts: list[Any] = [3, "<", None, None, None, -1, -1, 0]
    for place, part in changes:
        parts[place] = part
    return tuple(parts)


# Fields of objects, with flags that deny it: numpy would follow the bytes of the file as addresses.
OBJECTS = ((3, ("a",)), (4, {"a": (np.dtype("O"), 0)}), (5, 8), (6, 1))
FORGED = {
    "structured": array(dtype("V8", state((1, "|"), *OBJECTS))),
    "objects": array(dtype("O8", state((1, "|"), (7, 63))), [print]),
    "objects as bytes": array(dtype("O8")),
    "fields": array(dtype("f8", state((3, ("a",)), (4, {"a": (1, 0)})))),
    "subarray": array(dtype("f8", state((2, (1, (1000,)))))),
    "size": array(dtype("U2", state((5, 4096))), b"\0" * 8),
    "length": array(dtype("f8", state()[:5])),
    "version": array(dtype("f8", state((0, 4)))),
    "order": array(dtype("f8", state((1, np.arange(2))))),
    "dates": array(dtype("M8")),
    "untold": array("f8"),
    "too few bytes": array(dtype("f8"), b"A" * 8, (2,)),
    "too many bytes": array(dtype("f8"), b"A" * 16, (1,)),
    "huge": array(dtype("f8"), b"A" * 8, (2**62, 4)),
    "list": array(dtype("f8"), [1.0]),
    "no characters": array(dtype("U2"), b"\xff\xff\xff\x7f" * 2),
    "short array": Reduced(np.array(0).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (1,))),
    "scalar of objects": scalar(dtype("O8"), [1]),
    "scalar of fields": scalar(dtype("V8", state((1, "|"), *OBJECTS))),
    "two scalars": scalar(dtype("f8"), b"A" * 16),
    "no scalar": scalar("f8"),
    "buffer": Reduced(np._core.numeric._frombuffer, (b"A" * 8, "O", (1,), "C")),
}


def written(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def assert_same(got: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        assert isinstance(got, np.ndarray)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected, strict=True)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for name in expected:
            assert_same(got[name], expected[name])
    else:
        assert (type(got), got) == (type(expected), expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_numpy_writes_is_read_as_numpy_reads_it(tmp_path: Path, protocol: int) -> None:
    path = written(tmp_path / "plain.pkl", GENUINE, protocol)
    assert_same(read_plain_pickle(path), pickle.loads(path.read_bytes()))


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_both_homes_of_numpy(tmp_path: Path, core: bytes) -> None:
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(GENUINE["matrix"], 2).replace(b"numpy._core", core))
    np.testing.assert_array_equal(read_plain_pickle(tmp_path / "old.pkl"), GENUINE["matrix"])


def test_bytes_of_python_2(tmp_path: Path) -> None:
    # Its strings are bytes, so that an array's own come as text.
    python2 = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\n"
    python2 += b"tcnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00\\xff\\xff'\ntb."
    (tmp_path / "old.pkl").write_bytes(python2)
    assert_same(np.asarray(read_plain_pickle(tmp_path / "old.pkl")), np.array([1, -1], np.int16))


@pytest.mark.parametrize("value", [np.float32(2.5), np.int64(-3), np.bool_(True), np.str_("é"), np.bytes_(b"x")])
def test_numpy_scalars_are_values_of_python(tmp_path: Path, value: np.generic) -> None:
    read = read_plain_pickle(written(tmp_path / "scalar.pkl", [value]))
    assert_same(read, [value.item()])


def test_arrays_own_their_bytes(tmp_path: Path) -> None:
    data = b"A"
    first, second, kept = read_plain_pickle(
        written(tmp_path / "shared.pkl", [array(dtype("i1"), data), array(dtype("i1"), data), data], 4)
    )
    first[0] = 0
    assert (second[0], kept) == (ord("A"), b"A")
    truths = read_plain_pickle(written(tmp_path / "truths.pkl", array(dtype("b1"), b"\x00\x02\xff", (3,))))
    assert truths.tobytes() == b"\x00\x01\x01"


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", FORGED)
def test_forged_arrays_are_refused(tmp_path: Path, name: str, protocol: int) -> None:
    path = written(tmp_path / "forged.pkl", {"imlist": FORGED[name]}, protocol)
    with pytest.raises(DataError, match=r"forged\.pkl is (refused: it|refused: an array|no pickle, or a damaged one)"):
        read_plain_pickle(path)


def test_what_is_refused_says_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dtype 'O8', where only numbers and strings belong, .* tampered with"):
        read_plain_pickle(written(tmp_path / "o.pkl", np.array([print], object)))
    with pytest.raises(DataError, match=r"describes dtype <f8 with fields, parts or another size"):
        read_plain_pickle(written(tmp_path / "f.pkl", FORGED["fields"]))
    (tmp_path / "c.pkl").write_bytes(b"c_codecs\nencode\n(S'x'\nS'bz2'\ntR.")
    with pytest.raises(DataError, match=r"writes bytes as 'bz2'"):
        read_plain_pickle(tmp_path / "c.pkl")


@pytest.mark.parametrize("name", ["numpy\nndarray", "numpy\ndtype", "numpy.core.multiarray\nscalar", "_codecs\nencode"])
@pytest.mark.parametrize("change", [b"}S'__setstate__'\nNs", b"N}S'__defaults__'\nNs\x86"])
def test_a_pickle_cannot_change_what_reads_it(tmp_path: Path, name: str, change: bytes) -> None:
    (tmp_path / "change.pkl").write_bytes(b"\x80\x02c" + name.encode() + b"\n" + change + b"b.")
    with pytest.raises(DataError, match="changes what reads it"):
        read_plain_pickle(tmp_path / "change.pkl")
    assert callable(PlainArray.__setstate__)


def test_forged_bytes_at_random_never_end_the_interpreter(tmp_path: Path) -> None:
    whole = pickle.dumps({"imlist": np.arange(3), "names": np.array(["a", "b"]), "one": np.float32(1)}, 2)
    (tmp_path / "whole.pkl").write_bytes(whole)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tmp_path / "whole.pkl")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()[:1]) == (0, ["read"]), done.stderr[-500:]


FUZZ = """
import random, sys
from pathlib import Path
from pertinent.data.plain_pickle import read_plain_pickle
from pertinent.errors import DataError
path = Path(sys.argv[1])
whole, draw, refused = path.read_bytes(), random.Random(7), 0
# Without the operation that asks for as much memory as a number in the file says.
BYTES = [byte for byte in range(256) if byte != ord("r")]
for _ in range(1500):
    data = bytearray(whole)
    for _ in range(draw.randint(1, 3)):
        data[draw.randrange(len(data))] = draw.choice(BYTES)
    path.write_bytes(data)
    try:
        str(read_plain_pickle(path))
    except DataError:
        refused += 1
print("read", 1500 - refused, refused)
"""


def test_genuine_lists_are_read_as_the_ordinary_unpickler_does(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "revisitop" / "gnd_roxford5k.pkl"
    assert_same(read_plain_pickle(path), pickle.load(io.BytesIO(path.read_bytes()), encoding="latin1"))
    cids = [f"{number:032x}" for number in range(50)]
    part = {"cids": cids, "cluster": np.arange(50) // 5, "qidxs": RNG.integers(0, 50, 9), "pidxs": [np.int64(3)] * 9}
    lists = {"train": part, "val": {**part, "bbxs": np.zeros((50, 4), np.float32)}}
    read = read_plain_pickle(written(tmp_path / "sfm.pkl", lists))
    assert_same(read, {"train": {**part, "pidxs": [3] * 9}, "val": {**lists["val"], "pidxs": [3] * 9}})
