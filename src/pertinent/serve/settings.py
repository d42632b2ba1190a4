"""`ServeSettings`: where the service listens, who may use it, and how much it takes on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator

from pertinent.config import Settings, parse
from pertinent.serve.security import is_loopback

PREFIX = "PERTINENT_SERVE_"
# Queries in one request: pictures of /v1/search/images, vectors of /v1/search/vector.
MAX_QUERIES = 64
# Results of one request, over all its queries.
MAX_HITS = 10_000


class ServeSettings(Settings):
    """Everything about the service that can be set.

    Attributes:
        host: address to listen on; another than this machine's own needs a token.
        port: to listen on; 0 takes a free one.
        token: clients must show it as `Authorization: Bearer TOKEN`; 16 to 256 characters.
        origins: web pages of these origins may use the service, such as `https://example.org`; `*` lets all.
        upload_bytes: largest body of a request.
        pixels: largest picture, width times height.
        time_limit: seconds for one request, from its first byte on.
        rate: requests a second that one client may make over time, pictures of items apart; 0 does not limit.
        burst: requests that a client may make at once before `rate` holds it back.
        max_k: most results of one query.
        batch_size: pictures that go through the network together.
        batch_wait: milliseconds that the first picture of a batch waits for others.
        queue: pictures and searches under way at once; more are told to come back later.
        threads: that decode pictures.
        device: of the network; `auto` is a GPU where there is one.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8000, ge=0, le=65535)
    token: SecretStr | None = None
    origins: tuple[str, ...] = ()
    upload_bytes: int = Field(default=16 * 2**20, ge=1024)
    pixels: int = Field(default=40_000_000, ge=1)
    time_limit: float = Field(default=30.0, gt=0)
    rate: float = Field(default=0.0, ge=0)
    burst: int = Field(default=20, ge=1)
    max_k: int = Field(default=1000, ge=1, le=MAX_HITS)
    batch_size: int = Field(default=16, ge=1)
    batch_wait: float = Field(default=5.0, ge=0, le=1000)
    queue: int = Field(default=256, ge=MAX_QUERIES)
    threads: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), ge=1)
    device: str = "auto"

    @field_validator("origins", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [origin for origin in origins if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no origin; write scheme and host alone, such as https://example.org")
        return origins

    # The whole model is looked at, so that no message of pydantic repeats the token.
    @model_validator(mode="after")
    def _guarded(self) -> ServeSettings:
        if self.token is None:
            if not is_loopback(self.host):
                raise ValueError(
                    f"host {self.host} can be reached by others and needs a token; set {PREFIX}TOKEN, "
                    "or listen on 127.0.0.1"
                )
        elif not re.fullmatch(r"[!-~]{16,256}", self.token.get_secret_value()):
            raise ValueError("the token must have 16 to 256 characters, none of them a space or beyond ASCII")
        return self

    @classmethod
    def read(cls, environment: Mapping[str, str], options: Mapping[str, Any]) -> ServeSettings:
        """Settings from `PERTINENT_SERVE_*` variables and, before them, from options; None is an option not given.

        Raises:
            ConfigError: a value out of range, a variable of that prefix that is no setting, or another host than
                loopback without a token.
        """
        named = {
            name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)
        }
        given = {name: value for name, value in options.items() if value is not None}
        return parse(cls, {**named, **given}, f"settings of serve (options and {PREFIX}*)")
