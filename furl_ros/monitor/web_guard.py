# SPDX-License-Identifier: Apache-2.0
"""Who may open the page of the browser viewer."""

import contextlib
import hmac
import http
import ipaddress
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import websockets.asyncio.server
from websockets import Headers
from websockets.http11 import Request, Response

COOKIE = 'furl_ros_viewer'
ASK = b"""<!doctype html><meta charset="utf-8"><title>furl_ros</title>
<form><label>Token of this viewer (its log shows it):
<input name="token" type="password" autofocus></label> <button>Open</button></form>
"""


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what is bound to this host name or address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == 'localhost'


class Guard:
    """Answers requests that may not see the page.

    Without a token the page must be asked for by a name of this machine's loopback, and with or
    without one its socket by the page itself: no other site that the same browser shows reaches it.

    Args:
        token: that a browser must know; it keeps it in a cookie. '': none is asked for.
    """

    def __init__(self, token: str) -> None:
        self.token = token

    def answer(self, request: Request) -> Response | None:
        """The answer to who may not come in, or has just shown the token; None lets it in."""
        host, origin = request.headers.get('Host', ''), request.headers.get('Origin')
        if origin is not None and urlsplit(origin).netloc != host:
            return _answer(http.HTTPStatus.FORBIDDEN, b'another site asks\n')
        if not self.token:
            if is_loopback(urlsplit(f'//{host}').hostname or ''):
                return None
            return _answer(http.HTTPStatus.FORBIDDEN, b'accepted: localhost\n')
        if self._is_token(_cookie(request)):
            return None
        shown = parse_qs(urlsplit(request.path).query).get('token', [''])[-1]
        if self._is_token(shown):
            cookie = f'{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/'
            return _answer(http.HTTPStatus.SEE_OTHER, b'', {'Location': '/', 'Set-Cookie': cookie})
        return _answer(http.HTTPStatus.UNAUTHORIZED, ASK)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self.token.encode())


@contextlib.contextmanager
def guarding(guard: Guard) -> Iterator[None]:
    """A viser server that is made inside has its requests looked at by the guard.

    viser has no hook for it; it serves with ``websockets``, which has one.
    """
    serve = websockets.asyncio.server.serve

    def guarded(*args: Any, process_request: Any, **named: Any) -> Any:
        def process(connection: Any, request: Request) -> Response | None:
            answer = guard.answer(request) or process_request(connection, request)
            if answer is not None and 'html' in answer.headers.get('Content-Type', ''):
                # A browser keeps a page that was left, for its 'back', and its socket with it: it
                # would count as one that looks.
                answer.headers['Cache-Control'] = 'no-store'
            return answer

        return serve(*args, process_request=process, **named)

    websockets.asyncio.server.serve = guarded
    try:
        yield
    finally:
        websockets.asyncio.server.serve = serve


def _cookie(request: Request) -> str:
    with contextlib.suppress(CookieError):
        found = SimpleCookie(request.headers.get('Cookie', '')).get(COOKIE)
        return found.value if found else ''
    return ''


def _answer(status: http.HTTPStatus, body: bytes, more: dict[str, str] | None = None) -> Response:
    headers = Headers(more or {})
    headers['Content-Type'] = 'text/html; charset=utf-8'
    headers['Content-Length'] = str(len(body))
    return Response(status, status.phrase, headers, body)
