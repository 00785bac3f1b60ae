"""The REST API of TF Serving on aiohttp, with the page at / and /metrics beside it."""

import asyncio
import base64
import hashlib
import importlib.resources
import ipaddress
import json
import logging
import re
import socket
import time
from urllib.parse import unquote

from aiohttp import web
from google.protobuf import json_format

from tfft.serving.server import describe, examples, openai, rest_json
from tfft.serving.server.inference import LARGE, Inference, Request
from tfft.serving.server.refusal import Code, Refusal, invalid
from tfft.serving.server.search import Search
from tfft.serving.server.settings import Settings

LOG = logging.getLogger("tfft.serve")
PLACE = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
INFER = re.compile(PLACE + r":(?P<method>classify|regress|predict|search)", re.IGNORECASE)
DESCRIBE = re.compile(PLACE + r"(?P<metadata>/metadata)?", re.IGNORECASE)
ANYWHERE = ("0.0.0.0", "::")


class Rest:
    """Handles every HTTP request."""

    def __init__(self, settings: Settings, inference: Inference):
        self.settings, self.inference, self.limits = settings, inference, settings.limits
        self.searches = {name: Search(index, inference) for name, index in settings.indexes.items()}
        self.openai = openai.OpenAI(inference)
        self.draining = False
        self._silent: set = set()  # connections that have not sent the head of a request yet
        files = importlib.resources.files("tfft.serving.server")
        self._page = files.joinpath("page.html").read_bytes()
        for name in ("chat.js", "why.js"):
            self._page = self._page.replace(f"/* {name} */".encode(), files.joinpath(name).read_bytes())
        self._page_headers = page_headers(self._page)

    def runner(self) -> web.AppRunner:
        app = web.Application(client_max_size=self.limits.max_request_bytes, middlewares=[self._guarded])
        app.router.add_route("*", "/{tail:.*}", self._handle)
        return web.AppRunner(app, access_log=None, handler_cancellation=True, keepalive_timeout=self.limits.read_timeout,
                             shutdown_timeout=1.0, lingering_time=2.0)

    async def listen(self, runner: web.AppRunner, port: int) -> asyncio.Server:
        """Accepts connections. One that sends no whole head of a request within read_timeout is closed."""
        await runner.setup()
        loop = asyncio.get_running_loop()

        def connected():
            protocol = runner.server()
            self._silent.add(protocol)
            loop.call_later(self.limits.read_timeout, close, protocol)
            return protocol

        def close(protocol) -> None:
            if protocol in self._silent:
                self._silent.discard(protocol)
                protocol.force_close()

        return await loop.create_server(connected, self.settings.host, port, backlog=1024)

    @web.middleware
    async def _guarded(self, request: web.Request, handler) -> web.StreamResponse:
        """Turns every error into TF Serving's JSON, and gives up on a client that does not take its answer."""
        self._silent.discard(request.protocol)
        connection = request.get_extra_info("socket")
        if connection is not None:  # also when the rest of an answer is the kernel's to send
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * self.limits.write_timeout))
        try:
            self._check_origin(request)
            response = await handler(request)
        except Refusal as refusal:
            theirs = request.rel_url.raw_path in openai.PATHS
            response = (answer(json.dumps(openai.error(refusal)).encode(), refusal.http) if theirs
                        else failure(refusal.http, refusal.message))
        except web.HTTPException as error:
            response = failure(error.status, error.reason)
        except Exception:
            LOG.exception("a request failed: %s %s", request.method, request.rel_url.raw_path[:200])
            response = failure(500, "internal error; the server's log has it")
        if self.draining:
            response.force_close()
        try:
            async with asyncio.timeout(self.limits.write_timeout):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response

    def _check_origin(self, request: web.Request) -> None:
        """A page of another site must not ask this server through a browser: by its own name (DNS rebinding) or another.

        Raises: Refusal.
        """
        host = request.headers.get("Host", "")
        name = re.sub(r":\d*$", "", host).strip("[]").lower()
        known = {"", "localhost", socket.gethostname().lower(), self.settings.host.lower(), *self.settings.allowed_hosts}
        if self.settings.host not in ANYWHERE and name not in known and not _is_address(name):
            raise Refusal(Code.PERMISSION_DENIED, f"Host {name!r} is not this server's; --allowed_host={name} admits it")
        origin = request.headers.get("Origin")
        if origin is not None and re.sub(r"^https?://", "", origin.lower()) != host.lower():
            raise Refusal(Code.PERMISSION_DENIED, "requests from pages of other sites are not answered")

    async def _handle(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        if request.method == "POST" and (match := INFER.fullmatch(path)):
            return await self._infer(request, match)
        if request.method == "POST" and path in openai.PATHS:
            body = await self._body(request)
            return await self.openai(request, body, openai.PATHS[path], Request("", seconds=self.limits.request_timeout))
        if request.method in ("GET", "HEAD"):
            if path == "/":
                return web.Response(body=self._page, content_type="text/html", charset="utf-8", headers=self._page_headers)
            if path == "/metrics":
                return web.Response(body=self.inference.metrics.page(self.inference.models),
                                    headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
            if path == "/healthz":
                ready = self.inference.models.ready and not self.draining
                return answer(b'{"status": "SERVING"}' if ready else b'{"status": "NOT_SERVING"}', 200 if ready else 503)
            if re.fullmatch("/v1/models/?", path):
                return answer(json.dumps(describe.listing(self.inference.models, self.settings.indexes), indent=1).encode())
            if match := DESCRIBE.fullmatch(path):
                return self._describe(match)
        if not path.startswith("/v1/"):
            raise Refusal(Code.NOT_FOUND, f"Not found: {path[:200]}")
        raise invalid(f"Malformed request: {request.method} {path[:200]}")

    def _describe(self, match: re.Match) -> web.Response:
        name, version, label = _place(match)
        models = self.inference.models
        made = (describe.metadata if match["metadata"] else describe.status)(models, name, version, label)
        if match["metadata"]:
            return answer(json.dumps(describe.metadata_json(made), indent=1).encode())
        return answer(json_format.MessageToJson(made, preserving_proto_field_name=True,
                                                always_print_fields_with_no_presence=True).encode())

    async def _infer(self, request: web.Request, match: re.Match) -> web.Response:
        name, version, label = _place(match)
        asked = Request(name, version, label)
        body = await self._body(request)
        asked.deadline = time.monotonic() + self.limits.request_timeout
        method = match["method"].lower()
        with self.inference.counted("rest", method, asked):
            large = len(body) > LARGE
            document = await asyncio.to_thread(rest_json.parse, body) if large else rest_json.parse(body)
            if method == "search":
                return answer(await self._search(asked)(asked, document))
            asked.signature = document.get("signature_name", "")
            if method == "predict":
                _, outputs = await self.inference.predict(asked, lambda signature: rest_json.inputs(document, signature), large)
                written = rest_json.predictions, outputs, "instances" in document
            else:
                rows = await asyncio.to_thread(examples.read, document) if large else examples.read(document)
                if method == "classify":
                    written = rest_json.classifications, *await self.inference.classify(asked, rows)
                else:
                    written = rest_json.regressions, await self.inference.regress(asked, rows)
            large = large or method == "predict" and sum(made.size for made in outputs.values()) > LARGE
            return answer(await asyncio.to_thread(*written) if large else written[0](*written[1:]))

    def _search(self, asked: Request) -> Search:
        if asked.name not in self.searches:
            raise Refusal(Code.NOT_FOUND, f"there is no index of model {asked.name}: serve one with --index")
        return self.searches[asked.name]

    async def _body(self, request: web.Request) -> bytes:
        limit = self.limits.max_request_bytes
        too_large = Refusal(Code.INVALID_ARGUMENT, f"the request is larger than {limit} bytes", http=413)
        if (request.content_length or 0) > limit:
            raise too_large
        try:
            async with asyncio.timeout(self.limits.read_timeout):
                return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise too_large from error
        except TimeoutError as error:
            raise Refusal(Code.DEADLINE_EXCEEDED, f"the request did not arrive within {self.limits.read_timeout:g} s",
                          http=408) from error
        except web.HTTPException:
            raise
        except Exception as error:  # a broken compression, a chunk without its size
            raise invalid(f"the request's body cannot be read: {error}") from error


def _place(match: re.Match) -> tuple[str, int | None, str]:
    """(name, version, label) of an address. Raises: Refusal."""
    version = match["version"]
    if version is not None and int(version[:20]) >= 1 << 63:
        raise invalid(f"Failed to convert version: {version[:30]} to numeric.")
    return unquote(match["name"]), int(version) if version else None, unquote(match["label"] or "")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.endswith(".localhost")
    return True


def page_headers(page: bytes) -> dict[str, str]:
    """The page runs its own script and style and no other, asks this server alone, and nobody frames it."""
    def hashed(kind: bytes) -> str:
        (inside,) = re.findall(b"<%s>(.*?)</%s>" % (kind, kind), page, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(inside).digest()).decode()}'"

    return {"Content-Security-Policy": f"default-src 'none'; style-src {hashed(b'style')}; script-src {hashed(b'script')}; "
                                       "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def answer(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json",
                        headers={"X-Content-Type-Options": "nosniff"})


def failure(status: int, message: str) -> web.Response:
    return answer(rest_json.dumps({"error": message}), status)
