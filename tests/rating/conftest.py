"""A server in a process of its own."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from jaxvlm.rating.server import HOST

SERVE = Path(__file__).with_name("serve.py")


class Server:
    """`serve.py` on one port; may be killed and started again."""

    def __init__(self, folders, mode="share"):
        with socket.socket() as listener:
            listener.bind((HOST, 0))
            self.port = listener.getsockname()[1]
        self.folders, self.mode, self.process = list(folders), mode, None
        self.start()

    @property
    def address(self):
        return f"http://{HOST}:{self.port}/"

    def start(self):
        command = [sys.executable, SERVE, self.mode, self.port, *self.folders]
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        line = self.process.stdout.readline()
        assert line.strip() == self.address, line + self.process.stdout.read()

    def stop(self, how=signal.SIGINT):
        """Ends it, by default as Ctrl-C does; returns the exit code and what it printed."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        printed, _ = self.process.communicate(timeout=20)
        return self.process.returncode, printed

    def ask(self, method, path, body=None, **headers):
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def tasks(self, rater):
        return json.loads(self.ask("GET", f"/api/tasks?rater={quote(rater)}")[2])

    def answer(self, rater, item, value, token):
        body = json.dumps({"rater": rater, "item": item, "value": value, "token": token})
        status, _, reply = self.ask("POST", "/api/answers", body, Content_Type="application/json")
        return status, json.loads(reply)


def one_server(*folders):
    """A server for a fixture of any scope: `yield from` it."""
    need_packages()
    server = Server(folders)
    yield server
    server.stop(signal.SIGKILL)


def need_packages():
    for name in ("uvicorn", "starlette"):
        pytest.importorskip(name, reason="the extra `rate` is not installed")


@pytest.fixture
def serve():
    """Starts servers, and ends those that still run."""
    need_packages()
    servers = []

    def start(*folders, mode="share"):
        servers.append(Server(folders, mode))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


def wait_until(condition, seconds=10.0):
    """Waits for a condition; fails where it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def until(page, expression, seconds=10.0):
    """Waits for an expression of the page's to come true; playwright's own way needs `eval`, which the page forbids."""
    wait_until(lambda: page.evaluate(expression), seconds)
