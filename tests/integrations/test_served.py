"""A model behind an address: a real server on loopback that fails in every way there is."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import undertow as ut
from undertow.integrations import Asking, from_url
from undertow.storage.answers_file import AnswersFile
from undertow.types import BadInput

QUICK = Asking(batch=8, rate=1e6, timeout=5.0, tries=3, wait=0.0)


def logits(x):
    return np.stack([x[:, 0], x.sum(1), -x[:, 1]], 1).tolist()


class Server:
    """Answers by `reply(handler, body, number of the request)`; keeps what it was asked."""

    def __init__(self):
        self.asked, self.headers = [], []
        self.reply = lambda handler, body, n: self.say(handler, {"outputs": logits(np.array(body["inputs"]))})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.headers.append(dict(self.headers))
                outer.reply(self, body, len(outer.asked))

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/classify"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def say(handler, said, code=200, **headers):
        raw = said if isinstance(said, bytes) else json.dumps(said).encode()
        handler.send_response(code)
        for name, value in {"Content-Length": len(raw), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(raw)

    @property
    def records(self):
        return sum(len(body["inputs"]) for body in self.asked)


@pytest.fixture
def server():
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


X = ut.stream(0, "records").normal(size=(40, 4))
Y = np.arange(40) % 3


def test_the_audit_is_that_of_the_model_behind_it(server):
    served = ut.audit_model(from_url(server.url, QUICK), (X[:20], Y[:20]), (X[20:], Y[20:]))
    own = ut.audit_model(lambda x: np.array(logits(x)), (X[:20], Y[:20]), (X[20:], Y[20:]))
    assert [m.value for m in served.measurements] == [m.value for m in own.measurements]
    assert max(len(body["inputs"]) for body in server.asked) == 8
    assert served.data["model"] == f"the model at {server.url}, known by its answers"


@pytest.mark.parametrize("key", ["outputs", "predictions", "probabilities", "logits", "scores", None])
def test_every_name_of_the_answer(server, key):
    def reply(handler, body, n):
        found = logits(np.array(body["inputs"]))
        server.say(handler, found if key is None else {"model": "m", key: found})

    server.reply = reply
    np.testing.assert_array_equal(from_url(server.url, QUICK)(X), logits(X))


def test_labels_and_scores_become_columns_in_the_order_of_their_numbers(server):
    """Twelve classes: LABEL_10 comes after LABEL_2."""

    def reply(handler, body, n):
        rows = [[{"label": f"LABEL_{c}", "score": c + row[0]} for c in reversed(range(12))] for row in body["inputs"]]
        server.say(handler, rows)

    server.reply = reply
    np.testing.assert_allclose(from_url(server.url, QUICK)(X), X[:, :1] + np.arange(12))


def test_nothing_is_asked_twice(server, tmp_path):
    path = tmp_path / "answers.jsonl"
    first = from_url(server.url, QUICK, AnswersFile(path))(np.concatenate([X, X[:5]]))
    assert server.records == 40  # five records occur twice
    again = from_url(server.url, QUICK, AnswersFile(path))(np.concatenate([X, X[:5]]))
    assert server.records == 40
    np.testing.assert_array_equal(first, again)
    from_url(server.url, QUICK, AnswersFile(path))(X + 1)
    assert server.records == 80


def test_a_kill_in_the_middle_of_a_line_loses_that_line(server, tmp_path):
    path = tmp_path / "answers.jsonl"
    whole = from_url(server.url, QUICK, AnswersFile(path))(X)
    path.write_bytes(path.read_bytes()[:-10])
    np.testing.assert_array_equal(from_url(server.url, QUICK, AnswersFile(path))(X), whole)
    assert server.records == 41
    assert len(AnswersFile(path).held) == 40


def test_what_was_answered_before_a_failure_is_kept(server, tmp_path):
    good = server.reply
    server.reply = lambda handler, body, n: good(handler, body, n) if n <= 2 else server.say(handler, {}, 503)
    with pytest.raises(BadInput, match=r"HTTP 503.*, 3 times; what was answered is kept"):
        from_url(server.url, QUICK, AnswersFile(tmp_path / "a.jsonl"))(X)
    server.reply, server.asked = good, []
    from_url(server.url, QUICK, AnswersFile(tmp_path / "a.jsonl"))(X)
    assert server.records == 40 - 16


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_tried_again(server, code):
    good = server.reply
    server.reply = lambda handler, body, n: server.say(handler, {}, code) if n < 3 else good(handler, body, n)
    np.testing.assert_array_equal(from_url(server.url, QUICK)(X[:4]), logits(X[:4]))


def test_it_waits_longer_each_time_and_as_long_as_it_is_asked_to(server):
    waits = []
    server.reply = lambda handler, body, n: server.say(handler, {}, 429, **({"Retry_After": 7} if n == 3 else {}))
    served = from_url(server.url, Asking(tries=4, wait=1.0, rate=1e6))
    served.sleep = waits.append
    with pytest.raises(BadInput):
        served(X[:1])
    assert [w for w in waits if w > 0.5] == [1.0, 2.0, 7.0]


def test_the_rate_is_kept(server):
    start = time.monotonic()
    from_url(server.url, Asking(batch=10, rate=20.0))(X)  # 4 requests, 3 pauses of .05 s
    assert time.monotonic() - start >= 0.15


def test_the_key_goes_to_the_server_and_into_nothing_else(server, tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERTOW_AUTHORIZATION", "Bearer hush-hush")
    with pytest.raises(BadInput, match="UNDERTOW_AUTHORIZATION") as refused:
        from_url(server.url.replace("http://", "http://user:pass-word@"))
    assert "pass-word" not in str(refused.value)
    served = from_url(server.url + "?token=tok-en", QUICK, AnswersFile(tmp_path / "run" / "answers.jsonl"))
    result = ut.audit_model(served, (X[:20], Y[:20]), (X[20:], Y[20:]))
    ut.save_result(result, tmp_path / "run")
    assert server.headers[0]["Authorization"] == "Bearer hush-hush"
    for file in (tmp_path / "run").iterdir():
        held = file.read_bytes()
        assert not any(word in held for word in (b"hush-hush", b"tok-en")), file
    assert "tok-en" not in ut.summary(result)


def test_a_redirect_does_not_take_the_key_elsewhere(server, monkeypatch):
    monkeypatch.setenv("UNDERTOW_AUTHORIZATION", "Bearer hush-hush")
    server.reply = lambda handler, body, n: server.say(handler, {}, 307, Location="http://127.0.0.2:1/x")
    with pytest.raises(BadInput, match=r"redirects to http://127\.0\.0\.2:1/x|HTTP 307"):
        from_url(server.url, QUICK)(X)


WRONG = {
    "404": (
        lambda h, b: Server.say(h, {"detail": "no such model"}, 404),
        r"HTTP 404 .*no such model.*check the address",
    ),
    "401": (lambda h, b: Server.say(h, {}, 401), "UNDERTOW_AUTHORIZATION"),
    "413": (lambda h, b: Server.say(h, {}, 413), "--batch"),
    "422": (lambda h, b: Server.say(h, {"detail": "bad"}, 422), r'it is sent \{"inputs"'),
    "500": (lambda h, b: Server.say(h, b"oops", 500), r"HTTP 500 \(oops\), 3 times"),
    "no JSON": (lambda h, b: Server.say(h, b"<html>hello</html>"), "did not answer JSON but '<html>"),
    "empty": (lambda h, b: Server.say(h, b""), "did not answer JSON"),
    "another key": (lambda h, b: Server.say(h, {"result": []}), r"object with result; it must hold `outputs`"),
    "no list": (lambda h, b: Server.say(h, {"outputs": 3}), "answered int"),
    "one short": (
        lambda h, b: Server.say(h, {"outputs": [[1, 2]] * (len(b["inputs"]) - 1)}),
        "8 records and answered for 7",
    ),
    "texts": (lambda h, b: Server.say(h, {"outputs": ["cat"] * len(b["inputs"])}), r'answers "cat" for a record'),
    "ragged": (
        lambda h, b: Server.say(h, [[1, 2][: 1 + i % 2] for i in range(len(b["inputs"]))]),
        "a number per class",
    ),
    "null": (lambda h, b: Server.say(h, [None] * len(b["inputs"])), "nan for 40 of 40 records"),
    "torn": (
        lambda h, b: (h.send_response(200), h.send_header("Content-Length", "99"), h.end_headers()),
        "3 times|JSON",
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_answer_is_one_line(server, case):
    reply, said = WRONG[case]
    server.reply = lambda handler, body, n: reply(handler, body)
    with pytest.raises(BadInput, match=said) as found:
        ut.audit_model(from_url(server.url, QUICK), (X[:20], Y[:20]), (X[20:], Y[20:]))
    assert "\n" not in str(found.value)
    assert server.url in str(found.value) or case == "null"


def test_no_answer_in_time_and_nobody_there(server):
    server.reply = lambda handler, body, n: time.sleep(1.0)
    with pytest.raises(BadInput, match=r"no answer within 0\.1 s, 2 times"):
        from_url(server.url, Asking(timeout=0.1, tries=2, wait=0.0, rate=1e6))(X[:2])
    with pytest.raises(BadInput, match="refused"):
        from_url("http://127.0.0.1:1/x", Asking(tries=2, wait=0.0, rate=1e6))(X[:2])


@pytest.mark.parametrize("address", ["ftp://host/x", "http://", "https:///path"])
def test_no_address(address):
    with pytest.raises(BadInput, match="no http or https address"):
        from_url(address)


def test_from_the_shell_and_a_rerun_asks_nothing(server, tmp_path):
    from typer.testing import CliRunner

    from undertow.cli import app

    for name, rows in (("in", slice(0, 20)), ("out", slice(20, 40))):
        np.savez(tmp_path / f"{name}.npz", x=X[rows], y=Y[rows])
    sides = ["--members", str(tmp_path / "in.npz"), "--nonmembers", str(tmp_path / "out.npz")]
    command = ["audit", "mia", "--model", server.url, *sides, "--out", str(tmp_path / "run"), "--rate", "1000"]
    command += ["--batch", "16"]
    first = CliRunner().invoke(app, command)
    assert (first.exit_code, first.stderr) == (0, "")
    assert f"the model at {server.url}" in " ".join(first.stdout.split())
    assert (server.records, len(server.asked)) == (40, 3)
    held = (tmp_path / "run" / "scores.npz").read_bytes()
    assert CliRunner().invoke(app, command).exit_code == 0
    assert server.records == 40
    assert (tmp_path / "run" / "scores.npz").read_bytes() == held
