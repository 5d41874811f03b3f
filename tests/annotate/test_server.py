"""Who is answered, and with what. No picture is drawn here: the episodes are no task's."""

from __future__ import annotations

import http.client
import json

import numpy as np
import pytest

from gailfe_jax.annotate.film import Film
from gailfe_jax.annotate.server import Server
from gailfe_jax.annotate.session import FAILED_FROM, Label, Session
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.errors import GailfeError
from tests.data.made import make_demonstrations


@pytest.fixture
def server(tmp_path, serve) -> Server:
    make_demonstrations().save(tmp_path / "demos.npz")
    return serve(str(tmp_path / "demos.npz"))


def ask(server, path, *, method="GET", token=None, host=None, body=None, **headers):
    """`(status, headers, body)`."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, f"/{server.token if token is None else token}/{path}", skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None and "Content_Length" not in headers:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def decide(server, **asked):
    mine = {"Origin": f"http://127.0.0.1:{server.server_port}", "Content_Type": "application/json"}
    return ask(server, "label", method="POST", body=json.dumps(asked).encode(), **mine)


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert len(server.token) >= 43


@pytest.mark.parametrize(
    ("path", "kind"),
    [("", "text/html"), ("page.js", "text/javascript"), ("curves.js", "text/javascript"), ("style.css", "text/css")],
)
def test_the_page_is_served_and_may_load_nothing_else(server, path, kind):
    status, headers, body = ask(server, path)
    assert (status, headers.get_content_type()) == (200, kind) and body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("token", ["", "x", "a" * 43, "..", "%2e%2e"])
def test_who_does_not_know_the_token_gets_nothing(server, token):
    status, _, body = ask(server, "session", token=token)
    assert status == 404
    assert "no such page" in json.loads(body)["error"] and server.token.encode() not in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "[::1]:80"])
def test_another_name_of_this_machine_is_refused(server, host):
    assert ask(server, "session", host=host)[0] == 403
    assert ask(server, "session", host=f"localhost:{server.server_port}")[0] == 200


def test_the_session_is_told(server):
    told = json.loads(ask(server, "session")[2])
    assert (told["env"], told["rewarded"], told["labels"]) == ("Hopper-v5", True, {})
    assert told["problem"] == "observations and actions have other sizes than those of hopper"
    assert [entry["steps"] for entry in told["episodes"]] == [5, 3, 1, 2, 4]
    assert [entry["part"] for entry in told["episodes"]] == ["expert"] * 3 + ["failures"] * 2
    held = server.session.demonstrations.expert
    assert told["episodes"][0]["return"] == pytest.approx(held.returns[0])
    numbers = np.frombuffer(ask(server, "observed/0")[2], "<f4")
    np.testing.assert_array_equal(numbers[: 5 * 3].reshape(5, 3), held.obs[:5])
    np.testing.assert_array_equal(numbers[5 * 3 : 6 * 3], held.next_obs[4])
    np.testing.assert_array_equal(numbers[6 * 3 :], held.reward[:5])
    assert json.loads(ask(server, "about/0")[2])["words"].startswith("No pictures, for observations and actions")


def test_a_decision_is_stored(server):
    status, _, body = decide(server, episode=0, label="failed_from", step=2)
    assert (status, json.loads(body)["labels"]) == (200, {"0": ["failed_from", 2]})
    assert server.session.labels == {0: Label(FAILED_FROM, 2)}
    assert Demonstrations.load(server.session.out).failures.lengths.tolist() == [3, 2, 4]
    assert decide(server, episode=0, label=None)[0] == 200
    assert server.session.labels == {}


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"episode": 9, "label": "good"}, 422, "episode: no number 9"),
        ({"episode": 0, "label": "failed_from", "step": 5}, 422, "step: got 5"),
        ({"episode": True, "label": "good"}, 400, "expected an object with episode"),
        ({"label": "good"}, 400, "expected an object with episode"),
        ({"episode": 0, "label": ["good"]}, 400, "expected a word"),
        ({"episode": 0, "label": "failed_from", "step": "1"}, 400, "step a whole number"),
    ],
)
def test_what_is_no_decision_changes_nothing(server, tmp_path, asked, status, message):
    found, _, body = decide(server, **asked)
    assert found == status and message in json.loads(body)["error"]
    assert server.session.labels == {} and not (tmp_path / "demos-annotated.npz").exists()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Length": "100000"}, 413),
        ({"Content_Length": "-1"}, 413),
        ({"host": "evil.example"}, 403),
        ({"token": "wrong"}, 404),
        ({"body": b"[1"}, 400),
        ({"body": b"[" * 4000}, 400),
    ],
)
def test_no_other_page_can_decide(server, change, status):
    mine = {"Origin": f"http://127.0.0.1:{server.server_port}", "Content_Type": "application/json"}
    options = {"body": b'{"episode": 0, "label": "failed"}'} | mine | change
    found, _, body = ask(server, "label", method="POST", **{k: v for k, v in options.items() if v is not None})
    assert (found, list(json.loads(body))) == (status, ["error"])
    assert server.session.labels == {}


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "HEAD"])
def test_no_other_method_is_answered(server, method):
    status, headers, _ = ask(server, "session", method=method)
    assert status == 501 and "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path", ["x", "observed/x", "observed/1/2", "picture/0", "picture/-1/0", "../session.py", "about/1e9"]
)
def test_there_is_nothing_else(server, path):
    assert ask(server, path)[0] == 404


def test_there_is_no_picture_and_no_episode(server):
    for path, message in {"picture/0/0": "pictures: none", "observed/5": "no number 5"}.items():
        status, _, body = ask(server, path)
        assert status == 422 and message in json.loads(body)["error"]


def test_a_taken_port_is_one_line(server, tmp_path):
    session = Session(server.session.source, str(tmp_path / "two.npz"))
    film = Film(session)
    with pytest.raises(GailfeError, match=f"port: {server.server_port} on 127.0.0.1 cannot be listened on"):
        Server(session, film, server.server_port)
    with pytest.raises(GailfeError, match="port: got 70000; expected 0 to 65535"):
        Server(session, film, 70000)
