# SPDX-License-Identifier: Apache-2.0
"""Who may open the viewer's page: asked as a browser asks, of a page that is served."""

import http.client

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from furl_ros.monitor.web_guard import COOKIE, is_loopback
from furl_ros.monitor.web_page import Page

TOKEN = 'sesame'


def serve(token):
    """A page that does nothing, on any free port."""

    def nothing(*_):
        pass

    return Page(
        '127.0.0.1',
        0,
        token,
        on_press=nothing,
        on_prompt=nothing,
        on_rho=nothing,
        on_watchers=nothing,
    )


@pytest.fixture
def free():
    """Address of a page without a token."""
    page = serve('')
    yield page.url.removeprefix('http://').rstrip('/')
    page.close()


@pytest.fixture
def closed():
    """Address of a page with one."""
    page = serve(TOKEN)
    yield page.url.removeprefix('http://').partition('/')[0]
    page.close()


def get(address, path='/', **headers):
    """Status and headers of the answer to a browser's request."""
    connection = http.client.HTTPConnection(address)
    connection.request('GET', path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def opens(address, **headers):
    """Whether the page's socket can be opened with these headers."""
    origin = headers.pop('Origin', None)
    try:
        connect(
            f'ws://{address}', origin=origin, additional_headers=headers, subprotocols=['viser-v1']
        ).close()
    except InvalidStatus:
        return False
    return True


def test_localhost_asks_for_no_token(free):
    assert get(free)[0] == 200
    assert opens(free, Origin=f'http://{free}')


def test_no_other_site_reaches_localhost(free):
    assert get(free, Host='evil.example')[0] == 403
    assert not opens(free, Origin='https://evil.example')
    assert not opens(free, Origin='null')


def test_a_token_is_asked_for_and_kept_in_a_cookie(closed):
    for path in ('/', '/index.html', '/?token=', '/?token=wrong', f'/?Token={TOKEN}'):
        assert get(closed, path)[0] == 401
    assert get(closed, Cookie=f'{COOKIE}=wrong')[0] == 401
    assert get(closed, Cookie='=;;a=b c;')[0] == 401
    status, headers = get(closed, f'/?token={TOKEN}')
    assert (status, headers['Location']) == (303, '/')
    cookie, *attributes = headers['Set-Cookie'].split('; ')
    assert {'HttpOnly', 'SameSite=Strict'} <= set(attributes)
    assert get(closed, Cookie=cookie)[0] == 200


def test_the_socket_asks_for_the_token_too(closed):
    cookie = f'{COOKIE}={TOKEN}'
    assert not opens(closed)
    assert not opens(closed, Cookie=f'{COOKIE}=wrong')
    assert not opens(closed, Cookie=cookie, Origin='https://evil.example')
    assert opens(closed, Cookie=cookie, Origin=f'http://{closed}')


def test_nothing_is_shared_with_other_machines(free):
    # viser would open a tunnel to its makers' server for any browser that asks.
    page = serve('')
    handlers = page._server._websock_server._incoming_handlers
    assert not [kind for kind in handlers if 'Share' in kind.__name__]
    page.close()


@pytest.mark.parametrize(
    ('host', 'expected'),
    [
        ('localhost', True),
        ('127.0.0.1', True),
        ('127.3.2.1', True),
        ('::1', True),
        ('0.0.0.0', False),
        ('::', False),
        ('192.168.1.2', False),
        ('localhost.evil.example', False),
        ('', False),
    ],
)
def test_what_is_loopback(host, expected):
    assert is_loopback(host) is expected
