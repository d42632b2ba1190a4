"""`Exchange`: one request and its answer, with a largest body, and an eye on whether the client is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from pertinent.serve.problems import Problem

Headers = list[tuple[bytes, bytes]]


class Exchange:
    """Stands between server and application for one request.

    Args:
        scope: of the request.
        receive: the server's.
        send: the server's.
        limit: largest body in bytes.
        headers: that the answer gets besides its own.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int, headers: Iterable[Any]) -> None:
        self._receive, self._send, self.limit, self.headers = receive, send, limit, list(headers)
        self.scope = scope
        given = dict(scope["headers"])
        self.length: bytes | None = given.get(b"content-length")
        self.complete = self.length in (None, b"0") and b"transfer-encoding" not in given
        self.deadline: asyncio.Timeout | None = None
        self.read, self.status = 0, 0
        self.gone = self.finished = False
        self._watcher: asyncio.Task[None] | None = None

    @property
    def too_large(self) -> Problem:
        """The body is larger than the limit."""
        return Problem(413, f"the request is larger than {self.limit} bytes", "send less at once, or smaller pictures")

    @property
    def announced_too_large(self) -> bool:
        """Whether the headers already say that the body is larger than the limit."""
        return self.length is not None and (not self.length.isdigit() or int(self.length[:20]) > self.limit)

    async def receive(self) -> Message:
        """The next part of the body; raises Problem 413 where there is too much of it."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            return message
        self.read += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self.read > self.limit:
            raise self.too_large
        if self.complete:
            self._watcher = asyncio.create_task(self._watch())
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; before the first one, what the client still sends is read, or it never listens."""
        if message["type"] == "http.response.start":
            if not self.complete:
                await self._drain()
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self.headers]}
        elif not message.get("more_body", False):
            self.finished = True
        await self._send(message)

    def end(self) -> None:
        """Nothing more is to come."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _drain(self) -> None:
        """Read and forget the rest of a body, up to as much again as is allowed."""
        until = self.read + self.limit
        while not self.complete and self.read <= until:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                return
            self.read += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)

    async def _watch(self) -> None:
        """Stop the work when the client goes away."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.finished and self.deadline is not None:
            self.gone = True
            self.deadline.reschedule(asyncio.get_running_loop().time())
