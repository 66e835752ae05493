"""What the server answers, and to whom."""

import json
import sys

import pytest
from rating.material import make_material

from jaxvlm.errors import ConfigError
from jaxvlm.rating.server import _Guard, bind, parse_answer, require_packages

RUN = "secret-run"


@pytest.fixture
def material(tmp_path):
    return make_material(tmp_path / RUN / "rating", source=RUN)


@pytest.fixture
def server(serve, material):
    return serve(material.folder)


def test_the_page_and_its_parts_come_from_here_alone(server):
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        status, headers, body = server.ask("GET", path)
        assert (status, headers["content-type"].split(";")[0]) == (200, kind)
        assert b"http://" not in body
        assert b"https://" not in body
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_nothing_that_is_sent_tells_the_run(server, material):
    told = server.tasks("ann")
    assert set(told["items"][0]) == {"id", "goal", "frames", "fps"}
    names = [item["id"] for item in told["items"]]
    assert sorted(names) == sorted(item.id for item in material.trajectories)
    assert names != [item.id for item in material.trajectories]
    sent = [json.dumps(told)]
    for path in ("/", "/page.js", "/api/raters", f"/images/{names[0]}.webp", "/images/none.webp"):
        _, headers, body = server.ask("GET", path)
        sent += [str(headers), body.decode("latin-1")]
        # Times and lengths of life of a file would tell the order of recording.
        assert not {"last-modified", "etag", "server"} & {name.lower() for name in headers}
    for word in (RUN, "seed", "checkpoint", "trained", str(material.folder), "predicate"):
        assert not [text for text in sent if word in text.lower()], word


@pytest.mark.slow
def test_answers_are_kept_and_come_back(serve, server, material):
    first, second = (item["id"] for item in server.tasks("ann")["items"][:2])
    assert server.answer("ann", first, 75, "t1") == (200, {"saved": True})
    assert server.answer("ann", second, 25, "t2") == (200, {"saved": True})
    assert server.answer("ann", second, None, "t3") == (200, {"saved": True})
    assert server.tasks("ann")["answers"] == {first: 75}
    assert server.tasks("bob")["answers"] == {}
    assert server.stop() == (0, "")
    server.start()
    assert server.tasks("ann")["answers"] == {first: 75}
    assert json.loads(server.ask("GET", "/api/raters")[2]) == {"raters": ["ann"]}


def test_other_hosts_and_origins_are_refused(server):
    item, port = server.tasks("ann")["items"][0]["id"], server.port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        status, _, body = server.ask("GET", "/api/tasks?rater=ann", Host=host)
        assert status in (400, 403), host
        assert item.encode() not in body
    body = json.dumps({"rater": "ann", "item": item, "value": 0, "token": "x"})
    for origin in (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{port + 1}",
        f"https://127.0.0.1:{port}",
    ):
        status = server.ask("POST", "/api/answers", body, Content_Type="application/json", Origin=origin)[0]
        assert status == 403, origin
    # What a form of another site can send without being asked first.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert server.ask("POST", "/api/answers", body, Content_Type=kind)[0] == 415
    assert server.tasks("ann")["answers"] == {}
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        good = {"Content_Type": "application/json", "Host": host, "Origin": f"http://{host}"}
        assert server.ask("POST", "/api/answers", body, **good)[0] == 200
    assert len(server.tasks("ann")["answers"]) == 1


@pytest.mark.parametrize(("port", "refused"), [(80, False), (8080, True)])
def test_a_browser_leaves_the_usual_port_out(port, refused):
    sent = []

    async def app(scope, receive, send):
        sent.append(200)

    async def send(message):
        sent.append(message.get("status"))

    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    with pytest.raises(StopIteration):  # it waits for nothing; another test's loop may be running
        _Guard(app, port)({"type": "http", "headers": headers}, None, send).send(None)
    assert (403 in sent) == refused


def test_bad_requests_are_told_what_is_wrong(server):
    item = server.tasks("ann")["items"][0]["id"]
    assert server.answer("ann", "0" * 16, 50, "x")[0] == 400
    assert server.answer("ann", item, 33, "x") == (
        400,
        {"error": "33 is no answer; give one of 0, 25, 50, 75, 100"},
    )
    assert server.answer("  ", item, 50, "x")[0] == 400
    taken = (400, {"error": "the report calls rows of its own 'predicate': choose another name"})
    assert server.answer("predicate", item, 50, "x") == taken
    assert server.ask("GET", "/api/tasks?rater=all%20raters")[0] == 400
    assert server.ask("POST", "/api/answers", b"x" * 5000, Content_Type="application/json")[0] == 413
    assert server.ask("GET", "/api/tasks?rater=")[0] == 400
    assert server.ask("GET", "/images/../answers.sqlite")[0] == 404
    assert server.ask("GET", "/answers.sqlite")[0] == 404


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"nonsense", "an answer is an object"),
        (b"[]", "an answer is an object"),
        (b'{"rater": "a", "item": "b", "value": 0}', "an answer is an object"),
        (b'{"rater": "a", "item": "b", "value": true, "token": "t"}', "whole number"),
        (b'{"rater": "a", "item": "b", "value": 0.5, "token": "t"}', "whole number"),
        (b'{"rater": "a", "item": 1, "value": 0, "token": "t"}', "are texts"),
        (b'{"rater": "a", "item": "b", "value": 0, "token": ""}', "are texts"),
    ],
)
def test_answers_that_are_none(body, wrong):
    with pytest.raises(ConfigError, match=wrong):
        parse_answer(body)


def test_a_port_that_is_taken():
    taken = bind(0, fixed=False)
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be had: address already in use"):
        bind(port, fixed=True)
    free = bind(port, fixed=False)
    assert free.getsockname()[1] != port
    assert free.getsockname()[0] == "127.0.0.1"
    free.close()
    taken.close()
    with pytest.raises(ConfigError, match="port 70000"):
        bind(70000, fixed=True)


def test_missing_packages_are_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"needs uvicorn, .* pip install 'jaxvlm\[rate\]'"):
        require_packages()
