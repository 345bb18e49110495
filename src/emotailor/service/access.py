"""Who may ask: names by which the service is called, where a page is from, and a token."""

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from urllib.parse import urlsplit

from emotailor.errors import ConfigError
from emotailor.service.errors import RequestError

COOKIE = "emotailor"
SHORTEST_TOKEN = 16
"""Characters of a token: fewer can be guessed."""

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

OPEN = ("/health", "/login")
"""Paths that need no token."""

OPEN_BELOW = "/static/"
"""What lies below it needs none either: files of the package, which anybody has."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        host: the address that the service listens on.
        token: what everybody has to know; None where only this machine can ask.
    """

    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def check(self) -> None:
        """Refuse what would be open to others.

        Raises:
            ConfigError: other machines reach it and need no token, or the token can be guessed.
        """
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host}, which other machines reach, without a token",
                expected="--token with something secret, or the host 127.0.0.1",
                fix=f"for example: --host {self.host} --token {secrets.token_urlsafe(24)}",
            )
        if self.token is None:
            return
        if len(self.token) < SHORTEST_TOKEN or not self.token.isascii() or " " in self.token:
            raise ConfigError(
                f"a token of {len(self.token)} characters",
                expected=f"at least {SHORTEST_TOKEN} letters, digits and signs of ASCII",
                fix=f"for example: {secrets.token_urlsafe(24)}",
            )

    # ------------------------------------------------------------------ names

    def check_host(self, host: str) -> None:
        """Refuse a request to a name that is not ours.

        A page of others may let its own name point to this machine: then only the name tells its
        requests from ours. Where there is a token, they do not have it.

        Raises:
            RequestError: it is one.
        """
        if self.token is not None:
            return
        name = _name_of(host)
        if name == self.host or (name is not None and is_loopback(name)):
            return
        raise RequestError(
            HTTPStatus.FORBIDDEN,
            f"a request to {host[:200]!r}",
            expected="to localhost or 127.0.0.1",
            fix="open the address that `emotailor` printed",
        )

    def check_origin(self, method: str, origin: str | None, site: str | None, host: str) -> None:
        """Refuse a request that changes something and comes from a page of others.

        Args:
            method: of the request.
            origin: where the page is from, as its browser says.
            site: what the browser says of it, such as ``cross-site``.
            host: to which the request goes.

        Raises:
            RequestError: it is one.
        """
        if method in SAFE:
            return
        is_foreign = site in ("cross-site", "same-site")
        if origin is not None:
            is_foreign |= urlsplit_host(origin) != host.lower()
        if is_foreign:
            raise RequestError(
                HTTPStatus.FORBIDDEN,
                f"a request from the page of {(origin or 'another site')[:200]!r}",
                expected="one from a page of this service, or from a program",
                fix="open the page of this service, and do it there",
            )

    # ------------------------------------------------------------------ the token

    def is_open(self, path: str) -> bool:
        """Whether a path needs no token."""
        return self.token is None or path in OPEN or path.startswith(OPEN_BELOW)

    def check_token(self, authorization: str | None, cookies: str | None) -> None:
        """Refuse a request without the token.

        Raises:
            RequestError: it has none, or another one.
        """
        if self.token is None:
            return
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return
        if _same(_cookie(cookies), self.cookie()):
            return
        raise RequestError(
            HTTPStatus.UNAUTHORIZED,
            "a request without the token",
            expected="the header Authorization: Bearer TOKEN",
            fix="give the token that the service was started with; in a browser, open /login",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def is_token(self, given: str) -> bool:
        """Whether something is the token."""
        return self.token is not None and _same(given, self.token)

    def cookie(self) -> str:
        """Return what a browser gets in place of the token; another process has another one."""
        token = self.token or ""
        return hmac.new(self._secret, token.encode("utf-8"), sha256).hexdigest()


def urlsplit_host(origin: str) -> str | None:
    """Return name and port of an origin; None where it has none, as that of a local file."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _name_of(host: str) -> str | None:
    """Return the name in a header ``Host``, without port and brackets; None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _same(given: str, wanted: str) -> bool:
    """Compare in a time that says nothing of how much agrees."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8"))


def _cookie(header: str | None) -> str:
    """Return our cookie; empty where there is none."""
    from starlette.requests import cookie_parser

    # not of the standard library: it drops all where another program of this name set an odd one
    return cookie_parser(header or "").get(COOKIE, "")
