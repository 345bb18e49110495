"""Who may ask, and what every answer says to a browser."""

from collections.abc import Iterator

import pytest

from emotailor.errors import ConfigError
from emotailor.service.access import Access, is_loopback
from emotailor.service.assets import STATIC
from emotailor.service.site import new_site
from tests.service.serving import TOKEN, Place, listening


@pytest.fixture(scope="module")
def free() -> Iterator[Place]:
    """A site without a token."""
    with listening(new_site("a site", Access(), STATIC)) as place:
        yield place


@pytest.fixture(scope="module")
def locked() -> Iterator[Place]:
    """A site with a token."""
    with listening(new_site("a site", Access("0.0.0.0", TOKEN), STATIC)) as place:
        yield place


def test_others_are_refused_without_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org", ""):
        with pytest.raises(ConfigError, match="without a token"):
            Access(host).check()
        Access(host, TOKEN).check()
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert is_loopback(host)
        Access(host).check()
    for token in ("", "short", "with a blank in the middle", "ümlaut" * 5):
        with pytest.raises(ConfigError, match="token"):
            Access("127.0.0.1", token).check()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("[", 403),
        ("a@localhost", 200),  # the name is localhost
    ],
)
def test_a_name_that_is_not_ours_is_refused(free: Place, host: str, status: int) -> None:
    answer = free.get("/health", Host=host)
    assert answer.status == status
    assert status == 200 or "fix" in answer.json["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Origin": "http://localhost:{port}", "Host": "localhost:{port}"}, 303),
        ({"Origin": "http://localhost:{port}"}, 403),  # the name of another cookie
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
    ],
)
def test_a_page_of_others_changes_nothing(
    free: Place, headers: dict[str, str], status: int
) -> None:
    given = {name: value.format(port=free.port) for name, value in headers.items()}
    assert free.post("/login", b"token=x", **given).status == status
    assert free.get("/health", **given).status == 200


def test_a_token_is_needed_everywhere_but_at_the_door(locked: Place) -> None:
    for path in ("/", "/openapi.json", "/v1/model", "/metrics", "/nowhere", "//health", "/health/"):
        assert locked.get(path).status == 401
        assert locked.get(path, Authorization="Bearer wrong").status == 401
        assert locked.get(path, Authorization=f"Basic {TOKEN}").status == 401
        assert locked.get(path, Authorization=f"Bearer {TOKEN}").status != 401
    assert locked.get("/health").json == {"status": "ok"}
    assert locked.get("/login").status == 200
    assert locked.get("/static/front.css").status == 200
    assert locked.get("/static/../app.py").status in (401, 404)
    assert locked.get("/", Host="any.example", Authorization=f"bearer {TOKEN}").status == 404
    assert locked.get("/").headers["www-authenticate"] == "Bearer"
    assert locked.get("/", Accept="text/html").headers["location"] == "/login"


def test_a_browser_gets_a_cookie_that_is_not_the_token(locked: Place) -> None:
    wrong = locked.post("/login", b"token=another")
    assert wrong.status == 401
    assert "set-cookie" not in wrong.headers

    right = locked.post("/login", f"token={TOKEN}".encode())
    assert (right.status, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    given = cookie.partition(";")[0]
    assert locked.get("/nowhere", Cookie=given).status == 404
    assert locked.get("/nowhere", Cookie=given[:-1]).status == 401
    assert locked.get("/nowhere", Cookie="emotailor=\xff; x").status == 401
    # other programs of this machine set cookies, too, whatever their ports
    for odd in ('{"a":1}', '"a,b', "\xfc", "a b=c", "=", "x[0]=1"):
        assert locked.get("/nowhere", Cookie=f"odd={odd}; {given}").status == 404
        assert locked.get("/nowhere", Cookie=f"{odd}; {given}").status == 404
    # another process has another secret
    assert Access("0.0.0.0", TOKEN).cookie() not in cookie


def test_every_answer_says_what_a_browser_may_do(free: Place) -> None:
    for path in ("/health", "/login", "/nowhere", "/static/front.js", "/static/none"):
        headers = free.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "script-src 'self' 'unsafe" not in policy
        assert "style-src 'self' 'unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/front.css%00",
        "/static/",
    ],
)
def test_no_path_reaches_the_disk(free: Place, path: str) -> None:
    assert free.get(path).status == 404


def test_errors_have_one_shape(free: Place) -> None:
    assert free.get("/nowhere").error["found"]
    assert free.ask("PUT", "/health").error["found"]
    assert free.ask("PUT", "/health").status == 405
    assert free.get("/docs").status == 404
    assert free.get("/openapi.json").json["info"]["title"] == "a site"


def test_head_is_answered_as_get_without_the_body(free: Place) -> None:
    whole = free.get("/static/page.css")
    assert len(whole.body) > 1000
    answer = free.ask("HEAD", "/static/page.css")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole.body))
    assert answer.headers["content-security-policy"] == whole.headers["content-security-policy"]
    assert free.ask("HEAD", "/static/none.css").status == 404
