"""Runs the application: its socket, TLS, signals and an orderly end."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from realtime import tls
from realtime.app import SERVER, create_app
from realtime.config import ConfigError, Configuration, check_exposure, server_url
from realtime.services import BETTER, BUILT_IN

log = logging.getLogger(__name__)

RECEIVE_BUFFER = 256 * 1024
"""Bytes that the kernel takes ahead of a session that reads more slowly: a client that streams
faster than real time then waits here, and its pings are answered within seconds."""

BACKLOG = 256


class CannotListen(ConfigError):
    """The address is not to be had; one line that says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(None, None, message)

    def __reduce__(self) -> tuple[type["CannotListen"], tuple[str]]:  # type: ignore[override]
        return type(self), (self.message,)


@asynccontextmanager
async def serving(
    app: web.Application, configuration: Configuration, context: ssl.SSLContext | None
) -> AsyncIterator[str]:
    """Serve `app` while the block runs; gives the server's URL. Raises `CannotListen`.

    At the end work in progress may finish, unless the block was cancelled.
    """
    server = configuration.server
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        # It waits twice so long: before it stops reading, and before it cancels what still runs.
        shutdown_timeout=server.grace_seconds / 2,
    )
    listener = _listener(server.host, server.port)
    await runner.setup()
    patient = True
    try:
        site = web.SockSite(runner, listener, ssl_context=context, backlog=BACKLOG)
        await site.start()
        yield server_url(server.host, listener.getsockname()[1], context is not None)
        await site.stop()
        # Before the runner ends: it hears no client any more, and both sides end a WebSocket.
        await app[SERVER].endpoint.stop(server.grace_seconds)
    except asyncio.CancelledError:
        patient = False  # at once: what still runs ends with the loop, worker processes with us
        raise
    finally:
        if patient:
            await runner.cleanup()
        listener.close()


async def serve(
    app: web.Application, configuration: Configuration, context: ssl.SSLContext | None
) -> None:
    """Serve until SIGINT or SIGTERM; a second signal does not wait for work in progress."""
    stopping = asyncio.Event()
    with _signals(stopping):
        async with serving(app, configuration, context) as url:
            _announce(app, url)
            await stopping.wait()
            log.info("stopping; press Ctrl-C again to stop at once")


def prepare(
    configuration: Configuration, data_dir: Path
) -> tuple[web.Application, ssl.SSLContext | None]:
    """The application and its TLS. Blocks; raises `ConfigError` and `EngineError`."""
    check_exposure(configuration)
    return create_app(configuration, data_dir), _tls(configuration, data_dir)


def _tls(configuration: Configuration, data_dir: Path) -> ssl.SSLContext | None:
    server = configuration.server
    if server.tls_self_signed:
        cert, key = tls.self_signed(data_dir, [server.host])
        log.info("serving with a certificate of our own, SHA-256 %s", tls.fingerprint(cert))
        return tls.server_context(cert, key)
    if server.tls_cert is not None and server.tls_key is not None:
        return tls.server_context(server.tls_cert, server.tls_key)
    return None


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:  # a name that is too long is no text for DNS
        reason = getattr(error, "strerror", None) or "that is no host's name"
        raise CannotListen(f"cannot listen on '{host}': {reason}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise CannotListen(_why_not(error, host, port)) from None
    listener.setblocking(False)
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} is already in use, perhaps by another antiphon; "
                f"stop that program or choose another port: antiphon serve --port {port + 1}"
            )
        case errno.EACCES:
            return f"port {port} needs administrator rights; choose one above 1023 with --port"
        case _:
            return f"cannot listen on {host}:{port}: {error.strerror}"


def _announce(app: web.Application, url: str) -> None:
    log.info("listening on %s - open it in a browser", url)
    record = app[SERVER].models.catalogue.default_transcription()
    if record.engine == BUILT_IN:
        log.info("transcribing with the small built-in model; install a better one: %s", BETTER)


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if stopping.is_set():
            task.cancel()
        stopping.set()

    handled = (signal.SIGINT, signal.SIGTERM)
    for number in handled:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
