"""Who may see the live page: this computer's own user, or whoever has the token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

_COOKIE = "vitrine"
_LEAST_TOKEN = 16  # characters
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "Vitrine",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = (
    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; "
    "connect-src 'self'; img-src 'self' blob:"
)
_SIGN_IN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Vitrine</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<h1>Vitrine</h1><form method="post" action="/sign-in"><p>{note}</p><p><label>Token
<input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Show the cameras</button></p></form></html>"""


class Access:
    """Refuses what neither comes from this computer nor carries the token.

    A browser here runs other people's pages too, which cannot forge two headers. Host names the
    address in use: on 127.0.0.1 a foreign name is DNS rebinding. Origin names the page that asks.
    """

    def __init__(self, host: str, token: str | None) -> None:
        """Guard a server that is bound to `host`.

        Args:
            host: an address or a name.
            token: what to ask for; None, on an address of this computer alone, is nothing.

        Raises:
            ValueError: others could reach the page without a token, or the token is too short.
        """
        if token is None and not is_local(host):
            raise ValueError(
                f"{host} can be reached from other computers, and no token is set; set "
                "VITRINE_TOKEN to a secret that you give to those who may see the cameras"
            )
        if token is not None and len(token) < _LEAST_TOKEN:
            raise ValueError(
                f"VITRINE_TOKEN has {len(token)} characters, expected {_LEAST_TOKEN} or more; "
                "`python -c 'import secrets; print(secrets.token_urlsafe())'` makes one"
            )
        self._local = is_local(host)
        self._token = token

    def protect(self, app: web.Application, inline: str = "") -> None:
        """Put the checks before every handler of `app`, and safe headers on every answer.

        Args:
            app: the server's application.
            inline: what the content security policy says further, of scripts and styles.
        """
        app.middlewares.append(self._check)
        app.router.add_post("/sign-in", self._sign_in)

        async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(_HEADERS)
            response.headers["Content-Security-Policy"] = f"{_POLICY}; {inline}"

        app.on_response_prepare.append(add_headers)

    def has_token(self, request: web.Request) -> bool:
        """Whether a request carries the token, in a header, the address or a cookie."""
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        cookie = request.cookies.get(_COOKIE, "")
        return (
            self._is_token(bearer)
            or self._is_token(request.query.get("token", ""))
            or (self._token is not None and _same(cookie, _cookie_of(self._token)))
        )

    @web.middleware
    async def _check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._local and not is_local(_host_name(request.host)):
            raise web.HTTPForbidden(text="This page answers to 127.0.0.1 and localhost alone.\n")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="The page of another site may not use this one.\n")
        if self._token is None or request.path == "/sign-in":
            return await handler(request)
        if not self.has_token(request):
            return _ask("This page needs its token.")
        if request.path == "/" and "token" in request.query:
            return self._welcome()  # so that the token leaves the address bar
        return await handler(request)

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        given = (await request.post()).get("token")
        if isinstance(given, str) and self._is_token(given.strip()):
            return self._welcome()
        return _ask("That is not its token.")

    def _welcome(self) -> web.StreamResponse:
        assert self._token is not None  # it was just compared with
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            _COOKIE, _cookie_of(self._token), httponly=True, samesite="Strict", max_age=30 * 86400
        )
        return response

    def _is_token(self, text: str) -> bool:
        return self._token is not None and _same(text, self._token)


def is_local(host: str) -> bool:
    """Whether a host name or address can be reached from this computer alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same(given: str, right: str) -> bool:
    """Compare in a time that does not tell how much is right."""
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


def _cookie_of(token: str) -> str:
    """What the cookie holds: browsers send it to every port of this host, so not the token."""
    return hmac.digest(token.encode(), b"vitrine live page", "sha256").hex()


def _ask(note: str) -> web.Response:
    return web.Response(status=401, text=_SIGN_IN.format(note=note), content_type="text/html")
