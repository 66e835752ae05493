"""The page's server: on this machine only, for this page only.

It binds to 127.0.0.1. That alone does not keep other web sites out, whose scripts run in the rater's browser: a request
that names another host (DNS rebinding) or comes from another origin is refused, and answers are taken as JSON only,
which a form of another site cannot send. Responses say nothing of runs: names are random, and no time of a file, which
would tell the order of recording, is sent.
"""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxvlm.errors import ConfigError, JaxvlmError, RunError
from jaxvlm.rating.session import Session
from jaxvlm.rating.store import Answer, rater_name
from jaxvlm.runtime.files import reason

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
LONGEST_BODY = 4096  # bytes of a request
TOKEN = 64  # characters of an answer's token at most
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def require_packages() -> None:
    """Raises `ConfigError` that says how to install what the page needs, where it is missing."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"the rating page needs {error.name}, which is not installed: pip install 'jaxvlm[rate]'"
        ) from error


def make_app(session: Session, port: int) -> Any:
    """The ASGI application; `port` is the one that requests have to name."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    files = {
        "/": ("index.html", "text/html"),
        "/page.css": ("page.css", "text/css"),
        "/page.js": ("page.js", "text/javascript"),
    }

    def page(request: Request) -> Response:
        name, kind = files[request.url.path]
        return Response((PAGE / name).read_bytes(), media_type=kind)

    def raters(request: Request) -> Response:
        return JSONResponse({"raters": session.raters()})

    def tasks(request: Request) -> Response:
        rater = rater_name(request.query_params.get("rater", ""))
        return JSONResponse(describe(session, rater))

    def image(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in session.items:
            return JSONResponse({"error": "no such picture"}, 404)
        material, item = session.items[name]
        try:
            return Response(material.picture(item).read_bytes(), media_type="image/webp")
        except OSError as error:
            return JSONResponse({"error": f"the picture cannot be read: {reason(error)}"}, 500)

    async def answer(request: Request) -> Response:
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return JSONResponse({"error": "answers are sent as application/json"}, 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LONGEST_BODY:
                return JSONResponse({"error": f"an answer is at most {LONGEST_BODY} bytes long"}, 413)
        # The acknowledgement: this line returns once the answer is on the disk.
        await run_in_threadpool(session.answer, parse_answer(body))
        return JSONResponse({"saved": True})

    def refused(request: Request, error: Exception) -> Response:
        """Bad requests are 400, what cannot be written is 500; the text names no folder."""
        if isinstance(error, RunError):
            print(f"jaxvlm: {error}", flush=True)
            return JSONResponse({"error": "the answer could not be written to the disk"}, 500)
        return JSONResponse({"error": str(error)}, 400)

    app = Starlette(
        routes=[
            *(Route(path, page) for path in files),
            Route("/api/raters", raters),
            Route("/api/tasks", tasks),
            Route("/api/answers", answer, methods=["POST"]),
            Route("/images/{name}.webp", image),
        ],
        exception_handlers={JaxvlmError: refused},
    )
    return _Guard(app, port)


def describe(session: Session, rater: str) -> dict[str, Any]:
    """All that the page is told: goals, items in this rater's order, and the rater's answers."""
    items = []
    for name in session.order(rater):
        material, item = session.items[name]
        items.append(
            {
                "id": name,
                "goal": session.goals.index(material.goal),
                "frames": material.shown(item) if item.step < 0 else 1,
                "fps": material.drawing.fps,
            }
        )
    return {
        "mode": session.mode,
        "rater": rater,
        "goals": [{"prompt": goal.prompt, "criterion": goal.criterion} for goal in session.goals],
        "items": items,
        # In the order they were given: the last is what an undo takes back.
        "answers": {
            answer.item: answer.value for answer in sorted(session.answers(rater), key=lambda each: each.at)
        },
    }


def parse_answer(body: bytes) -> Answer:
    """An answer from a request; raises `ConfigError` that says what is wrong with it."""
    try:
        data = json.loads(body)
        rater, item, value, token = (data[name] for name in ("rater", "item", "value", "token"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError("an answer is an object with rater, item, value and token") from error
    # isprintable refuses halves of surrogate pairs, which SQLite could not store.
    if not all(isinstance(text, str) and text.isprintable() for text in (rater, item, token)) or not (
        0 < len(token) <= TOKEN
    ):
        raise ConfigError("rater, item and token are texts, the token of 1 to 64 characters")
    if not (value is None or (isinstance(value, int) and not isinstance(value, bool))):
        raise ConfigError("the value of an answer is a whole number, or null to take it back")
    return Answer(rater_name(rater), item, value, token)


class _Guard:
    """Refuses other hosts and origins, and adds the headers that keep the page to itself."""

    def __init__(self, app: Any, port: int):
        self.app = app
        names = (HOST, "localhost")
        self.hosts = {f"{name}:{port}".encode() for name in names}
        if port == 80:  # which browsers leave out
            self.hosts |= {name.encode() for name in names}
        self.origins = {b"http://" + host for host in self.hosts}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = scope["headers"]
        hosts = [value for name, value in headers if name == b"host"]
        origins = {value for name, value in headers if name == b"origin"}

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        if len(hosts) != 1 or hosts[0] not in self.hosts or origins - self.origins:
            text = b"This page is for the browser of the machine it runs on.\n"
            start = {
                "type": "http.response.start",
                "status": 403,
                "headers": [(b"content-type", b"text/plain")],
            }
            await send_guarded(start)
            await send_guarded({"type": "http.response.body", "body": text})
            return
        await self.app(scope, receive, send_guarded)


def bind(port: int, *, fixed: bool) -> socket.socket:
    """A socket on 127.0.0.1.

    Args:
      port: wanted; 0 is any.
      fixed: whether another port will not do when this one is taken.

    Raises:
      ConfigError: the port cannot be had.
    """
    problem: Exception | None = None
    for candidate in (port,) if fixed or port == 0 else (port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, candidate))
            return listener
        except (OSError, OverflowError) as error:
            listener.close()
            problem = error
    raise ConfigError(
        f"port {port} of {HOST} cannot be had: {reason(problem) if problem else 'no reason'}; choose another --port"
    )


def serve(session: Session, listener: socket.socket, ready: Callable[[str], object]) -> None:
    """Serves until the process is told to stop.

    Args:
      session: what is judged.
      listener: made by `bind`.
      ready: called with the page's address before the first request.
    """
    import uvicorn

    port = listener.getsockname()[1]
    config = uvicorn.Config(
        make_app(session, port),
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    listener.listen(128)  # so that a browser that is opened now is heard
    ready(f"http://{HOST}:{port}/")
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # the usual way to end it
    finally:
        session.close()
