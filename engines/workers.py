"""Where engines run: on the loop (tests), in a thread, or in a process of their own.

A worker takes one step at a time. `WorkerDied` means that the engine and all jobs in it are gone;
any other `EngineError` fails the step only.
"""

import asyncio
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from engines.base import Engine, EngineError, Outcome, Recipe, Work
from engines.pipes import LENGTH, Payloads, Reply, Step, pack

START_SECONDS = 300.0
"""Longest time a model may take to load."""

STEP_SECONDS = 120.0
"""Longest time one step may take before its process is taken for hung and killed."""

CLOSE_SECONDS = 5.0


class WorkerDied(EngineError):
    """The process that held the engine is gone."""


class Worker(Protocol):
    """One running engine."""

    @property
    def memory(self) -> int | None:
        """The most bytes that it has held; None where that is not known."""
        ...

    async def start(self) -> None:
        """Build the engine. Raises `EngineError`."""
        ...

    async def step(self, work: Sequence[Work], drops: Sequence[int]) -> Sequence[Outcome]:
        """Forget `drops`, then do `work`. Raises `EngineError`."""
        ...

    async def close(self) -> None: ...


def worker_for(recipe: Recipe) -> Worker:
    """A worker of the kind the recipe names, not started."""
    match recipe.worker:
        case "inline":
            return InlineWorker(recipe.build)
        case "thread":
            return ThreadWorker(recipe.build, recipe.name)
        case "process":
            return ProcessWorker(recipe.build)


def _step(engine: Engine, work: Sequence[Work], drops: Sequence[int]) -> Sequence[Outcome]:
    # A border: an engine that raises fails its step, whatever it raised.
    try:
        for job in drops:
            engine.drop(job)
        return engine.step(work) if work else ()
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(f"{type(error).__name__}: {error}") from error


def _build(build: Callable[[], Engine]) -> Engine:
    try:
        return build()
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(f"{type(error).__name__}: {error}") from error


class InlineWorker:
    """The engine on the event loop itself: for tests on virtual time, and for the null engine."""

    def __init__(self, build: Callable[[], Engine]) -> None:
        self._recipe = build
        self._engine: Engine | None = None
        self.memory: int | None = None

    async def start(self) -> None:
        self._engine = _build(self._recipe)

    async def step(self, work: Sequence[Work], drops: Sequence[int]) -> Sequence[Outcome]:
        assert self._engine is not None
        return _step(self._engine, work, drops)

    async def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


class ThreadWorker:
    """The engine in one thread of its own, for libraries that release the GIL."""

    def __init__(self, build: Callable[[], Engine], name: str) -> None:
        self._recipe = build
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._engine: Engine | None = None
        self.memory: int | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._engine = await loop.run_in_executor(self._threads, _build, self._recipe)

    async def step(self, work: Sequence[Work], drops: Sequence[int]) -> Sequence[Outcome]:
        assert self._engine is not None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _step, self._engine, work, drops)

    async def close(self) -> None:
        # The thread is serial: closing waits for the step that may still run.
        engine, self._engine = self._engine, None
        try:
            if engine is not None:
                await asyncio.get_running_loop().run_in_executor(self._threads, engine.close)
        finally:
            self._threads.shutdown(wait=False)


class ProcessWorker:
    """The engine in a child process, for libraries that hold the GIL or may take a process down."""

    def __init__(self, build: Callable[[], Engine]) -> None:
        self._recipe = build
        self._payloads = Payloads()
        self.memory: int | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        self._payloads = Payloads()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "engines.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
                # Ctrl-C in the server's terminal is not for the child, which ends with its input.
                start_new_session=True,
            )
        except OSError as error:  # no memory, processes or files left
            raise EngineError(f"no process could be started: {error}") from error
        await self._ask(self._recipe, START_SECONDS)

    async def step(self, work: Sequence[Work], drops: Sequence[int]) -> Sequence[Outcome]:
        self._payloads.forget(drops)
        outcomes = await self._ask(Step(self._payloads.leave_out(work), drops), STEP_SECONDS)
        self._payloads.forget(outcome.job for outcome in outcomes if outcome.done)
        return outcomes

    async def _ask(self, message: object, seconds: float) -> Sequence[Outcome]:
        process = self._process
        if process is None:
            raise WorkerDied("the worker process is not running")
        try:
            async with asyncio.timeout(seconds):
                reply = await self._exchange(process, pack(message))
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
            await self._kill()
            raise WorkerDied("the worker process died") from error
        self.memory = reply.memory or self.memory
        if reply.error is not None:
            raise reply.error
        return reply.outcomes

    @staticmethod
    async def _exchange(process: asyncio.subprocess.Process, message: bytes) -> Reply:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdin.is_closing():
            raise BrokenPipeError("the process has gone")
        process.stdin.write(message)
        await process.stdin.drain()
        head = await process.stdout.readexactly(LENGTH.size)
        reply = pickle.loads(await process.stdout.readexactly(LENGTH.unpack(head)[0]))
        assert isinstance(reply, Reply)
        return reply

    async def _kill(self) -> None:
        process, self._process = self._process, None
        self.memory = None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await _gone(process)

    async def close(self) -> None:
        """Let the child finish its step and leave; kill it when it does not."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await _gone(process)
        except TimeoutError:
            pass
        finally:
            await self._kill()


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Wait until a child has ended that is about to."""
    assert process.stdout is not None
    # It cannot end while it writes what nobody reads: the rest of a reply that was given up.
    while await process.stdout.read(1 << 16):
        pass
    await process.wait()
