"""`Guard`: what every request passes before it reaches a route: names, origins, rates, token, size, time."""

from __future__ import annotations

import asyncio
import time
from http import HTTPMethod

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pertinent.serve.exchange import Exchange
from pertinent.serve.limits import RateLimit
from pertinent.serve.metrics import Metrics
from pertinent.serve.problems import Problem, answer, late, log
from pertinent.serve.security import PREFLIGHT, is_local_name, is_preflight, origin_headers, shows_token
from pertinent.serve.settings import MAX_QUERIES, ServeSettings

# Characters of JSON for one number of a vector, with its comma.
NUMBER = 32
# A page of results is one search and a thumbnail for each of them.
PICTURES_A_REQUEST = 50
GONE = 499
METHODS = frozenset(HTTPMethod)
PAGE_RULES = (
    b"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class Guard:
    """Lets a request through to the application, or refuses it with JSON `{error, hint}`.

    Args:
        app: the application.
        settings: limits, token and origins.
        metrics: counts requests.
        dim: length of a vector, for how large a body of JSON may be.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics, dim: int) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.token = settings.token.get_secret_value() if settings.token is not None else None
        self.rates = RateLimit(settings.rate, settings.burst)
        self.picture_rates = RateLimit(PICTURES_A_REQUEST * settings.rate, PICTURES_A_REQUEST * settings.burst)
        self.json_bytes = min(settings.upload_bytes, 65536 + MAX_QUERIES * dim * NUMBER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; all else, such as the start of the server, goes through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"])
        # Files are sent whole, which a server may do; so an odd Range is nobody's error.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"range"]
        own = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
        own += [(b"content-security-policy", PAGE_RULES), *origin_headers(given.get(b"origin"), self.settings.origins)]
        multipart = given.get(b"content-type", b"").lower().startswith(b"multipart/")
        limit = self.settings.upload_bytes if multipart else self.json_bytes
        exchange = Exchange(scope, receive, send, limit, own)
        started = time.perf_counter()
        self.metrics.begin()
        try:
            await self._answered(exchange)
        finally:
            exchange.end()
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"
            status = GONE if exchange.gone or not exchange.status else exchange.status
            self.metrics.end(route, method, status, time.perf_counter() - started)

    async def _answered(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(self.settings.time_limit) as exchange.deadline:
                if is_preflight(exchange.scope):
                    await self._preflight(exchange)
                elif (problem := self._refusal(exchange)) is not None:
                    await self._refuse(exchange, problem)
                else:
                    await self.app(exchange.scope, exchange.receive, exchange.send)
        except TimeoutError:
            if exchange.gone or exchange.status:
                return
            slow = Problem(408, "the request did not come to its end in time", "send it faster, or send less at once")
            problem = late(self.settings.time_limit) if exchange.complete else slow
            exchange.complete = True  # there is no time left to read the rest
            await self._refuse(exchange, problem)
        except Exception:
            if exchange.gone:
                return
            log.exception("%s %s failed", exchange.scope["method"], exchange.scope["path"])
            if exchange.status:
                raise
            await self._refuse(exchange, Problem(500, "this is a fault of the service", "its log says more"))

    @staticmethod
    async def _refuse(exchange: Exchange, problem: Problem) -> None:
        await answer(problem)(exchange.scope, exchange.receive, exchange.send)

    def _refusal(self, exchange: Exchange) -> Problem | None:
        scope = exchange.scope
        given, path = dict(scope["headers"]), scope["path"]
        if self.token is None and not is_local_name(given.get(b"host", b"")):
            return Problem(
                421, "without a token, only names of this machine are answered", "use 127.0.0.1 or localhost"
            )
        if path.startswith("/v1") or path == "/metrics":
            known = self.token is None or shows_token(given.get(b"authorization"), self.token)
            # Whoever guesses tokens gains nothing by asking for pictures.
            rates = self.picture_rates if known and _asks_for_picture(scope) else self.rates
            seconds = rates.wait(scope["client"][0] if scope.get("client") else "")
            if seconds:
                retry = {"Retry-After": str(seconds)}
                return Problem(429, "too many requests from this client", f"come back in {seconds} s", retry)
            if not known:
                hint = "send the header Authorization: Bearer TOKEN"
                return Problem(401, "the token is missing or wrong", hint, {"WWW-Authenticate": "Bearer"})
        return exchange.too_large if exchange.announced_too_large else None

    async def _preflight(self, exchange: Exchange) -> None:
        """Answer what a browser asks before a page of another origin may use the service."""
        if origin_headers(dict(exchange.scope["headers"]).get(b"origin"), self.settings.origins):
            exchange.headers += PREFLIGHT
            await Response(status_code=204)(exchange.scope, exchange.receive, exchange.send)
        else:
            problem = Problem(403, "pages of this origin may not use the service", "start it with --origin")
            await self._refuse(exchange, problem)


def _asks_for_picture(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "GET" and path.startswith("/v1/items/") and path.endswith("/image")
