"""Decoding and sources: every kind of picture that is read, and every one that is refused with its reason."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pertinent.data import images
from pertinent.data.images import ArraySource, FolderSource, ZipSource, decode
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, ImageError, InputError


def _ramp(width: int = 24, height: int = 16) -> Image.Image:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([10 * x, 15 * y, 5 * (x + y)], axis=-1).astype(np.uint8))


def _bytes(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _png_16(rows: list[list[int]]) -> bytes:
    """A 16-bit grey PNG, written by hand so that no library's scaling is trusted."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    data = b"".join(b"\0" + struct.pack(f">{len(row)}H", *row) for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 16, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _refused(data: bytes | Path | Image.Image) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, "shop/cup.jpg")
    assert caught.value.where == "shop/cup.jpg"
    return caught.value.reason


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_return_the_pixels(form: str) -> None:
    image = decode(_bytes(_ramp(), form))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(_ramp()))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_ends_upright(orientation: int, form: str) -> None:
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    picture = _ramp() if stored is None else _ramp().transpose(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    once = decode(_bytes(picture, form, exif=exif.tobytes(), **({"lossless": True} if form == "WEBP" else {})))
    assert np.array_equal(np.asarray(once), np.asarray(_ramp()))
    assert np.array_equal(np.asarray(decode(once)), np.asarray(once))


def test_broken_exif_does_not_hide_the_picture() -> None:
    data = _bytes(_ramp(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12garbage")
    assert decode(data).size == (24, 16)
    word = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI4sI", 1, 0x0112, 2, 4, b"up?\0", 0)
    assert decode(_bytes(_ramp(), "JPEG", exif=word)).size == (24, 16)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    image = decode(_png_16([[0, 255, 257, 32768, 65535]]))
    assert np.asarray(image)[0].tolist() == [[value] * 3 for value in (0, 1, 1, 128, 255)]


def test_16_bit_tiff_of_either_byte_order_is_scaled() -> None:
    for order in ("<u2", ">u2"):
        pixels = np.array([[0, 25700, 65535]], dtype=order)
        image = Image.frombytes("I;16" if order == "<u2" else "I;16B", (3, 1), pixels.tobytes())
        assert np.asarray(decode(image))[0, :, 0].tolist() == [0, 100, 255]


def test_wide_pixels_without_a_known_white_are_refused() -> None:
    assert "32-bit" in _refused(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))
    assert "32-bit" in _refused(Image.fromarray(np.array([[-1, 5]], dtype=np.int32)))
    assert "mode F" in _refused(Image.fromarray(np.zeros((2, 2), dtype=np.float32)))
    assert "mode LAB" in _refused(_bytes(Image.new("LAB", (2, 2)), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_opaque_modes_become_rgb(mode: str) -> None:
    grey = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    assert np.asarray(decode(grey)).min() == 255
    red = np.asarray(decode(Image.new("RGB", (8, 8), (255, 0, 0)).convert(mode)))[0, 0]
    assert mode in {"1", "L"} or (red[0] > 200 and red[1] < 60)


def test_cmyk_jpeg() -> None:
    red = np.asarray(decode(_bytes(Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK"), "JPEG")))[8, 8]
    assert red[0] > 240
    assert red[1:].max() < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa"])
def test_alpha_is_laid_on_white(mode: str) -> None:
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert abs(int(np.asarray(decode(half.convert(mode)))[0, 0, 0]) - 127) <= 1


def test_transparent_palette_and_colour_key_are_laid_on_white() -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([200, 0, 0, 0, 200, 0])
    palette.putpixel((0, 0), 1)
    for transparency in (0, b"\x00\xff"):
        image = decode(_bytes(palette, "PNG", transparency=transparency))
        assert image.getpixel((1, 1)) == (255, 255, 255)
        assert image.getpixel((0, 0)) == (0, 200, 0)
    assert decode(_bytes(Image.new("L", (4, 4), 9), "PNG", transparency=9)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animated_pictures_say_how_many_frames(form: str) -> None:
    frames = [_ramp(), Image.new("RGB", (24, 16), "blue"), Image.new("RGB", (24, 16), "green")]
    reason = _refused(_bytes(frames[0], form, save_all=True, append_images=frames[1:]))
    assert "3 frames" in reason
    assert "save the one wanted" in reason


def test_phone_jpeg_with_previews_is_read_as_its_first_picture() -> None:
    data = _bytes(_ramp(), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert decode(data).size == (24, 16)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_pictures_are_refused(form: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = _bytes(noise, form)
    for length in (len(data) // 2, 12):
        reason = _refused(data[:length])
        assert "truncated or damaged" in reason or "not a picture" in reason


def test_damaged_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(1)
    for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        original = _bytes(_ramp(), form)
        for _ in range(40):
            data = bytearray(original)
            for position in rng.integers(0, len(data), 6):
                data[position] = rng.integers(256)
            with suppress(ImageError):
                assert decode(bytes(data), "x").mode == "RGB"


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    assert "0 bytes" in _refused(b"")
    assert "not a picture" in _refused(b"hello, I am text")
    assert "not a picture" in _refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert "no such file" in _refused(tmp_path / "none.jpg")
    assert "folder" in _refused(tmp_path)
    assert "cannot be opened" in _refused(tmp_path / ("x" * 300))
    (tmp_path / "empty.jpg").touch()
    assert "0 bytes" in _refused(tmp_path / "empty.jpg")
    assert "no pixels" in _refused(Image.new("RGB", (0, 5)))


def test_bombs_are_refused_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _bytes(_ramp(), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert "24 x 16 is more than the limit of 300" in _refused(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "make it smaller" in _refused(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode(data).size == (24, 16)


def test_files_that_may_not_be_read_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ramp().save(tmp_path / "a.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    assert "cannot be opened" in _refused(tmp_path / "a.png")


def test_errors_name_the_path_and_survive_pickling(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.jpg") as caught:
        decode(tmp_path / "none.jpg")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_warning_filters_are_left_as_they_were_after_threads() -> None:
    before, data = list(warnings.filters), _bytes(_ramp(), "PNG")
    with ThreadPoolExecutor(8) as pool:
        sizes = set(pool.map(lambda _: decode(data).size, range(64)))
    assert sizes == {(24, 16)}
    assert list(warnings.filters) == before


def test_folder_source(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _ramp().save(tmp_path / "a" / "1.png")
    source = FolderSource(tmp_path, ["a/1.png", "a/2.png"])
    assert source.read(0).size == (24, 16)
    assert source.missing() == ["a/2.png"]
    assert source.where(1) == str(tmp_path / "a" / "2.png")
    with pytest.raises(ImageError, match=r"2\.png: no such file"):
        source.read(1)


@pytest.mark.parametrize("path", ["../x.png", "a/../../x.png", "a\\..\\x.png", ""])
def test_paths_do_not_leave_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="leads out of"):
        FolderSource(tmp_path, [path])


def test_an_absolute_path_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is an absolute path; list paths relative to"):
        FolderSource(tmp_path, [str(tmp_path / "x.png")])


def _zip(path: Path, count: int = 4) -> ZipSource:
    names = [f"in/{number}.png" for number in range(count)]
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, _bytes(Image.new("RGB", (number + 2, 3)), "PNG"))
    return ZipSource(path, names)


def _width(source: ZipSource, index: int) -> int:
    return source.read(index).width


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    "method", [name for name in ("fork", "spawn") if name in multiprocessing.get_all_start_methods()]
)
def test_zip_source_in_processes(tmp_path: Path, method: str) -> None:
    source = _zip(tmp_path / "p.zip")
    assert source.read(0).width == 2
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(_width, [(source, index) for index in (0, 1, 2, 3) * 4]) == [2, 3, 4, 5] * 4
    assert source.read(3).width == 5


def test_zip_source_in_threads(tmp_path: Path) -> None:
    source = _zip(tmp_path / "p.zip", 12)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda index: source.read(index).width, range(12))) == list(range(2, 14))


def test_zip_source_is_not_opened_before_it_is_read(tmp_path: Path) -> None:
    source = ZipSource(tmp_path / "later.zip", ["in/0.png"])
    assert source.where(0) == f"{tmp_path}/later.zip/in/0.png"
    with pytest.raises(DataError, match=r"later\.zip: no such zip file"):
        source.read(0)
    _zip(tmp_path / "later.zip")
    assert source.read(0).width == 2


def test_damaged_zips_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _zip(tmp_path / "p.zip")
    data = bytearray((tmp_path / "p.zip").read_bytes())
    position = data.find(b"IDAT")
    data[position + 6] ^= 255
    (tmp_path / "member.zip").write_bytes(data)
    with pytest.raises(ImageError, match=r"member\.zip/in/0\.png: truncated or damaged"):
        ZipSource(tmp_path / "member.zip", source.members).read(0)
    (tmp_path / "half.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"half\.zip: not a readable zip file"):
        ZipSource(tmp_path / "half.zip", source.members).read(0)
    with pytest.raises(ImageError, match="no such member"):
        ZipSource(tmp_path / "p.zip", ["in/9.png"]).read(0)
    monkeypatch.setattr(images, "_MEMBER_LIMIT", 10)
    with pytest.raises(ImageError, match="make the picture smaller"):
        source.read(0)


def test_array_source() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    source = ArraySource(pixels)
    assert np.array_equal(np.asarray(source.read(1)), pixels[1])
    assert "1" in source.where(1)
    with pytest.raises(InputError, match=r"\(N, H, W, 3\)"):
        ArraySource(pixels[0])
    with pytest.raises(InputError, match="float"):
        ArraySource(pixels.astype(np.float32))  # type: ignore[arg-type]


def test_sources_serve_a_table(tmp_path: Path) -> None:
    source = _zip(tmp_path / "p.zip")
    table = pickle.loads(pickle.dumps(ImageTable(["a", "b", "c", "d"], source))).subset([2, 0])
    assert [table.source.read(row).width for row in range(2)] == [4, 2]


def test_real_photographs(shared: Path) -> None:
    archive = shared / "data" / "grocery_store" / "images160.zip"
    source = ZipSource(archive, [])
    names = source.names()
    assert len(names) == 2936
    image = ZipSource(archive, names[:1]).read(0)
    assert min(image.size) == 160
    assert os.fspath(archive) in ZipSource(archive, names[:1]).where(0)
