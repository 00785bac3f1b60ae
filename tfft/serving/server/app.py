"""The whole server: starts, serves until it is told to stop, and ends what it has begun."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable

import tensorflow as tf

from tfft.errors import UserError
from tfft.serving.server import grpc_api
from tfft.serving.server.inference import Inference, Request
from tfft.serving.server.metrics import Metrics
from tfft.serving.server.models import Models
from tfft.serving.server.refusal import Refusal
from tfft.serving.server.rest import Rest
from tfft.serving.server.settings import Settings, port_message

LOG = logging.getLogger("tfft.serve")
UNLOAD_SECONDS = 5.0  # from the last answer to the end of the process


class Server:
    """REST and gRPC over the same models. Port 0 takes any free port; rest_port and grpc_port say which."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.metrics = Metrics()
        self.models = Models(settings, self.metrics)
        self.inference = Inference(self.models, self.metrics, settings.limits)
        self.rest_port, self.grpc_port = settings.rest_port, settings.grpc_port
        self._rest = Rest(settings, self.inference)
        self._runner = self._rest.runner()
        self._listener: asyncio.Server | None = None
        self._grpc, self._health = grpc_api.server(settings, self.inference)
        self._tasks: list[asyncio.Task] = []

    async def start(self) -> None:
        """Loads the models and listens. Raises: UserError."""
        await self.models.start()
        for name, search in self._rest.searches.items():
            try:
                await search.check(Request(name))
            except Refusal as refusal:
                raise UserError(refusal.message) from refusal
        await grpc_api.set_health(self._health, True)
        host = self.settings.host
        try:
            self._listener = await self._rest.listen(self._runner, self.rest_port)
        except OSError as error:
            raise UserError(port_message(host, "rest", self.rest_port, error)) from error
        self.rest_port = self._listener.sockets[0].getsockname()[1]
        address = f"[{host}]" if ":" in host else host
        try:
            self.grpc_port = self._grpc.add_insecure_port(f"{address}:{self.grpc_port}")
        except RuntimeError as error:
            raise UserError(port_message(host, "grpc", self.grpc_port, OSError(errno.EADDRINUSE, str(error)))) from error
        await self._grpc.start()
        self._tasks.append(asyncio.create_task(self.models.poll()))
        if self.settings.config_file and self.settings.config_poll_seconds:
            self._tasks.append(asyncio.create_task(self.models.poll_config()))

    async def stop(self) -> bool:
        """Says NOT_SERVING, closes the listeners, lets running requests end for drain_seconds, and frees the models.

        False where something is still being computed, or a client's connection still open, after that.
        """
        self._rest.draining = True
        await grpc_api.set_health(self._health, False)
        for task in self._tasks:
            task.cancel()
        seconds = self.settings.limits.drain_seconds
        if self._listener is not None:
            self._listener.close()
        grpc_stop = asyncio.create_task(self._grpc.stop(seconds))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.inference.in_flight:
                    await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)  # the last answers are on their way
        await self._runner.cleanup()
        # A client that reads nothing holds its connection open for write_timeout, past what is drained: not waited for.
        return await _within(1.0, grpc_stop) & await _within(UNLOAD_SECONDS, self.models.close())


async def _within(seconds: float, ending: Awaitable[None]) -> bool:
    """Whether it ended in time."""
    try:
        async with asyncio.timeout(seconds):
            await ending
    except TimeoutError:
        return False
    return True


def serve(settings: Settings) -> int:
    """Runs the server until SIGTERM or SIGINT. Raises: UserError."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("tfft: %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False  # absl's handler would tell it again
    tf.get_logger().setLevel(logging.ERROR)  # the loader of graphs and sessions is called deprecated; TF Serving is made of it
    sys.setswitchinterval(0.001)  # a version being loaded must not hold the event loop for 5 ms at a time
    gc.freeze()  # TensorFlow's half a million objects are not looked through whenever a version is unloaded
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: os._exit(1) if stop.is_set() else stop.set())  # the second time: at once
    server = Server(settings)
    starting = asyncio.create_task(server.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    else:
        starting.result()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        names = ", ".join(f"{name} version {model.newest}" for name, model in server.models.by_name.items())
        print(f"tfft: serving {names}: http://{host}:{server.rest_port} grpc://{host}:{server.grpc_port}", file=sys.stderr,
              flush=True)
        await stop.wait()
        print("tfft: draining", file=sys.stderr, flush=True)
    if not await server.stop():
        os._exit(0)  # threads in the middle of a computation that nobody waits for
    return 0
