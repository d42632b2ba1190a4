"""Requests that no client should send, made by chance."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from serve_parts import png

JSON = {"Content-Type": "application/json"}
BOUNDARY = "b0undary"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
WORDS = [
    "",
    "a",
    "\0",
    "../" * 9 + "etc/passwd",
    "é" * 50,
    "\ud800",
    "🐈",
    "x" * 20_000,
    "{{7*7}}",
    "'; DROP",
    "%n%s",
    "NaN",
]


@dataclass
class Malformed:
    """A request that no client should send."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def part(name: str, data: bytes, filename: str | None = None, more: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{more}\r\n'
    return head.encode("utf-8", "replace") + data + b"\r\n"


def form(*parts: bytes, path: str = "/v1/search/image") -> Malformed:
    return Malformed("POST", path, b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), MULTIPART)


def png_that_says(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header claims a size; `data` is its compressed stream."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


BOMB = zlib.compress(bytes(2_000_000))


def no_picture(chance: random.Random) -> bytes:
    """Bytes that look like a picture to some, and are none that is taken."""
    whole = png(30, 20, chance.randrange(9))
    jpeg = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(jpeg, "JPEG")
    gif = io.BytesIO()
    frames = [Image.new("L", (9, 9), shade) for shade in (0, 99)]
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    makers: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: chance.randbytes(chance.randrange(1, 3000)),
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        lambda: b"<!DOCTYPE html><script>alert(1)</script>",
        lambda: b"%PDF-1.7\n%\xe2",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        lambda: b"GIF89a" + chance.randbytes(20),
        lambda: b"\x89PNG\r\n\x1a\n" + chance.randbytes(100),
        lambda: b"\xff\xd8\xff\xe0" + chance.randbytes(200),
        lambda: b"II*\0" + chance.randbytes(100),
        lambda: b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8 " + chance.randbytes(92),
        lambda: b"P6 99999999 99999999 255\n",
        lambda: whole[: chance.randrange(8, len(whole) - 200)],
        lambda: jpeg.getvalue()[: chance.randrange(20, 400)],
        gif.getvalue,
        lambda: png_that_says(100_000, 100_000, BOMB),
        lambda: png_that_says(2**31 - 1, 2**31 - 1),
        lambda: png_that_says(30_000, 2_000, BOMB),
        lambda: png_that_says(9_000, 9_000, BOMB),
        lambda: png_that_says(0, 5),
        lambda: png(chance.randrange(150, 400), 1),
    ]
    return chance.choice(makers)()


def wrong_value(chance: random.Random) -> Any:
    return chance.choice([None, True, "x", [], {}, [[]], -1, 0, 1.5, 10**30, -(10**400), "1", [None], {"a": {}}])


def vector(chance: random.Random) -> Malformed:
    good: Any = [chance.gauss(0, 1) for _ in range(8)]
    spoilt = [*good[:7], chance.choice([float("nan"), float("inf"), 1e39, "1", None, [], True, 10**400])]
    makers: list[Callable[[], Any]] = [
        lambda: {"vector": good[: chance.randrange(8)]},
        lambda: {"vector": good * chance.randrange(2, 300)},
        lambda: {"vector": spoilt},
        lambda: {"vectors": [good, spoilt]},
        lambda: {"vectors": [good] * chance.randrange(65, 90)},
        lambda: {"vectors": [good, good[1:]]},
        lambda: {"vectors": good},
        lambda: {"vector": [good]},
        lambda: {"vector": good, "vectors": [good]},
        lambda: {"vector": good, "k": chance.choice([0, -5, 1001, 10**12, 10**400, "5", 2.5, None, True, [], {}])},
        lambda: {
            "vector": good,
            "labels": chance.choice([WORDS, "red", [1], None, {"a": 1}, ["no such"], ["red"] * 17]),
        },
        lambda: {"vector": good, "explain": chance.choice(["yes", 1, None, []])},
        lambda: {"vector": good, chance.choice(WORDS): 1},
        lambda: {"vector": wrong_value(chance)},
        lambda: wrong_value(chance),
    ]
    return Malformed("POST", "/v1/search/vector", dumps(chance.choice(makers)()), JSON)


def metadata(chance: random.Random) -> Any:
    """What no filter can be."""
    return chance.choice(
        [
            wrong_value(chance) or "x",
            {"no such": 1},
            {"a": None},
            {"a": []},
            {"a": [[]]},
            {"a": {"b": 1}},
            {"a": 10**30},
            {"a": float("nan")},
            {chance.choice(WORDS): 1},
            {str(number): 1 for number in range(17)},
        ]
    )


def search_words(chance: random.Random) -> Malformed:
    """Searches that are right but for one word."""
    makers: list[Callable[[], Any]] = [
        lambda: {"offset": chance.choice([-1, 10_001, 9_999, 10**400, "1", 1.5, None, True, []])},
        lambda: {"metadata": metadata(chance)},
        lambda: {"model": chance.choice(["x", "", 1, [], *WORDS])},
        lambda: {"labels_of_query": chance.choice(["red", [1], {"a": 1}, ["x" * 1001], None])},
        lambda: {"with_vector": True},
        lambda: {"region": "0,0,1,1"},
    ]
    body = {"vector": [1.0] * 8, **chance.choice(makers)()}
    return Malformed("POST", "/v1/search/vector", dumps(body), JSON)


def refine(chance: random.Random) -> Malformed:
    good: Any = [chance.gauss(0, 1) for _ in range(8)]
    makers: list[Callable[[], Any]] = [
        lambda: {},
        lambda: {"irrelevant": ["x"]},
        lambda: {"vector": good, "relevant": [chance.choice(WORDS)]},
        lambda: {"vector": good, "irrelevant": wrong_value(chance) or "x"},
        lambda: {"vector": good, "relevant": ["x"] * 1001},
        lambda: {"vector": good, "id": "x"},
        lambda: {"vector": good[1:]},
        lambda: {"vector": [0.0] * 8},
        lambda: {"vector": good, chance.choice(["alpha", "beta", "gamma"]): chance.choice([-1, 101, "1", None, 1e400])},
        lambda: {"vector": good, "metadata": metadata(chance)},
        lambda: {"id": wrong_value(chance) or "x"},
        lambda: wrong_value(chance),
    ]
    return Malformed("POST", "/v1/search/refine", dumps(chance.choice(makers)()), JSON)


def adding(chance: random.Random) -> Malformed:
    good, path = part("image", png(), "a.png"), "/v1/items"
    names = ["../x", "a/../b", "a//b", "/", ".", "..", "a/image", "a\0b", "a\nb", "\u202e", "x" * 1001]
    makers: list[Callable[[], Malformed]] = [
        lambda: form(part("image", no_picture(chance), chance.choice(["a.png", "a.svg", "../a"])), path=path),
        lambda: form(part("image", no_picture(chance), "a.html", "Content-Type: text/html\r\n"), path=path),
        lambda: form(good, part("id", chance.choice(names).encode()), path=path),
        lambda: form(good, *[part("labels", b"red")] * chance.choice([1, 3, 2000]), path=path),
        lambda: form(good, part("labels", b"x" * 1001), part("labels", b"y"), path=path),
        lambda: form(good, part("metadata", dumps(metadata(chance)) + b"]"), path=path),
        lambda: form(good, part("metadata", dumps({"a": [1]})), path=path),
        lambda: form(good, part("k", b"5"), path=path),
        lambda: form(part("image", b"text"), path=path),
        lambda: form(part("id", b"x"), path=path),
        lambda: Malformed("POST", path, good[: chance.randrange(len(good) - 20)], MULTIPART),
        lambda: Malformed("POST", path, dumps({"id": "x"}), JSON),
        lambda: Malformed("DELETE", path + "/" + chance.choice(["x", "%2e%2e", "%00", "a" * 5000, ""])),
        lambda: Malformed("DELETE", path),
    ]
    return chance.choice(makers)()


def listing(chance: random.Random) -> Malformed:
    values = ["", "-1", "0", "501", "x", "1e3", "9" * 5000, "%00", "%ff", "[]", "nan", "1.5"]
    name = chance.choice(["random", "limit", "no_such", "metadata", "label", "model"])
    return Malformed(
        "GET",
        f"/v1/{chance.choice(['items', 'items', 'labels?model=x', 'map?model=x'])}?{name}=".replace("x?", "x&")
        + "x"
        + chance.choice(values),
    )


def by_id(chance: random.Random) -> Malformed:
    makers: list[Callable[[], Any]] = [
        lambda: {"id": chance.choice(WORDS)},
        lambda: {"id": "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(chance.randrange(1, 90)))},
        lambda: {"id": wrong_value(chance)},
        lambda: {"id": "x", "k": wrong_value(chance)},
        lambda: {chance.choice(WORDS): "x"},
        lambda: wrong_value(chance),
    ]
    return Malformed("POST", "/v1/search/id", dumps(chance.choice(makers)()), JSON)


def broken_json(chance: random.Random) -> Malformed:
    deep = chance.choice([10, 900, 30_000])
    bodies = [
        b"",
        b"{",
        b"[" * deep,
        b'{"vector":' * (deep // 10),
        b'{"vector": ' + b"[" * deep + b"]" * deep + b"}",
        b"\xff\xfe\x00{",
        b"\xef\xbb\xbf{}",
        b'{"vector": 1' + b"0" * 5000 + b"}",
        b'{"id": "\\ud800"}',
        b'{"id": "\\ud800", "\\udfff": 1}',
        b'{"id": 1, "id": 2}',
        b'{"vector": [1,,2]}',
        b'{"vector": [NaN, -Infinity]}',
        b"null",
        b'"text"',
        chance.randbytes(chance.randrange(1, 500)),
    ]
    kinds = [
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "application/xml",
        "",
        "a/b/c",
        "json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ]
    kind = chance.choice([*kinds[:1] * 5, *kinds])
    path = chance.choice(["/v1/search/vector", "/v1/search/id", "/v1/search/image", "/v1/search/images"])
    return Malformed("POST", path, chance.choice(bodies), {"Content-Type": kind})


def upload(chance: random.Random) -> Malformed:
    names = ["a.png", "../../a.png", "a.svg", "é.png", "a\x01.png", "x" * 5000]
    kinds = ["", "Content-Type: image/svg+xml\r\n", "Content-Type: \r\n", "Content-Transfer-Encoding: base64\r\n"]
    bad = part("image", no_picture(chance), chance.choice(names), chance.choice(kinds))
    good = part("image", png(), "a.png")
    value = chance.choice([*WORDS, "-1", "1e9", "0", "1001", "9" * 5000, "[]", "true", "1.5"]).encode(
        "utf-8", "replace"
    )
    makers: list[Callable[[], Malformed]] = [
        lambda: form(bad),
        lambda: form(bad),
        lambda: form(bad),
        lambda: form(part("images", png(), "a.png"), bad.replace(b'"image"', b'"images"'), path="/v1/search/images"),
        lambda: form(part("image", b"text")),
        lambda: form(part("file", png(), "a.png")),
        lambda: form(*[part("images", png(), "a.png")] * 65, path="/v1/search/images"),
        lambda: form(*[part("f", b"")] * 1001),
        lambda: form(good, part("k", b"x" + value)),
        lambda: form(good, part("k", chance.choice([b"0", b"-1", b"1001", b"1e3", b"9" * 5000, b"nan"]))),
        lambda: form(good, part("region", b"1,2," + value)),
        lambda: form(
            good, part("region", chance.choice([b"0,0,0,0", b"nan,nan,nan,nan", b"500,500,600,600", b"1e400,0,2,2"]))
        ),
        lambda: form(good, part("labels", b"no" + value)),
        lambda: form(good, part("explain", b"perhaps")),
        lambda: form(good, part("unknown", value)),
        lambda: Malformed("POST", "/v1/search/image", good, MULTIPART),
        lambda: Malformed("POST", "/v1/search/image", chance.randbytes(500), MULTIPART),
        lambda: Malformed("POST", "/v1/search/image", good[: chance.randrange(len(good) - 20)], MULTIPART),
        lambda: Malformed("POST", "/v1/search/image", good, {"Content-Type": "multipart/form-data"}),
        lambda: Malformed(
            "POST", "/v1/search/image", good, {"Content-Type": "multipart/form-data; boundary=" + "x" * 300}
        ),
        lambda: Malformed(
            "POST", "/v1/search/image", good, {"Content-Type": "multipart/form-data; boundary=b; charset=zip"}
        ),
        lambda: Malformed("POST", "/v1/search/image", png(), {"Content-Type": "image/png"}),
        lambda: Malformed("POST", "/v1/search/image", f"--{BOUNDARY}\r\n{'A: b' * 9999}".encode(), MULTIPART),
        lambda: Malformed(
            "POST", "/v1/search/image", f"--{BOUNDARY}\r\nContent-Disposition: x\r\n\r\n1".encode(), MULTIPART
        ),
    ]
    return chance.choice(makers)()


def address(chance: random.Random) -> Malformed:
    tricks = [
        "..%2f" * 9 + "etc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "%00",
        "%ff%fe%fd",
        "%F0%9F%90%88",
        "a" * 5000,
        "c:%5cx",
        "....//",
        "%252e%252e",
        ";",
        "?x",
        "a?w=x",
        "%0d%0aX:1",
    ]
    start = chance.choice(["/v1/items/", "/v1/", "/", "/static/", "/v1/search/", "/v1/items//"])
    path = start + chance.choice(tricks) + chance.choice(["", "/image", "/image?w=5", "/image?w=-1", "/"])
    method = chance.choice(["GET", "GET", "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
    return Malformed(
        method, path, b"", {"Range": "bytes=9-1", "If-None-Match": "\xff"} if chance.random() < 0.3 else {}
    )


def headers(chance: random.Random) -> Malformed:
    odd = {"Host": "evil.org"} if chance.random() < 0.5 else {"Content-Length": "9" * 20, **JSON}
    return Malformed("POST", "/v1/search/vector", b"{}", odd)


KINDS = [
    vector,
    search_words,
    refine,
    by_id,
    broken_json,
    upload,
    upload,
    adding,
    adding,
    listing,
    address,
    headers,
]


def malformed(count: int, seed: int = 0) -> Iterator[Malformed]:
    """The same requests for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        yield chance.choice(KINDS)(chance)
