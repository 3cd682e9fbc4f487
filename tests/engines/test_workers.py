"""Workers of each kind: the same answers and errors; a process may hang or die, never linger."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from stand_ins import Echo, refuses_to_load

from engines import workers
from engines.base import Engine, EngineError, InvalidInput, Outcome, Recipe, Work
from engines.pipes import pack
from engines.workers import (
    InlineWorker,
    ProcessWorker,
    ThreadWorker,
    Worker,
    WorkerDied,
    worker_for,
)

pytestmark = pytest.mark.one_loop

KINDS: list[Literal["inline", "thread", "process"]] = ["inline", "thread", "process"]
ROOT = Path(__file__).parents[2]


def make(kind: Literal["inline", "thread", "process"], build: Callable[[], Engine]) -> Worker:
    return worker_for(Recipe("test", build, worker=kind))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


async def gone(pid: int) -> bool:
    """Whether the process ends within half a minute: a busy machine takes its time."""
    for _ in range(3000):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.01)
    return False


def test_the_recipe_names_the_kind() -> None:
    kinds = [type(make(kind, Echo)) for kind in KINDS]
    assert kinds == [InlineWorker, ThreadWorker, ProcessWorker]


async def test_a_step_answers_every_job(kind: Any) -> None:
    worker = make(kind, Echo)
    await worker.start()
    work = [Work(1, "hello"), Work(2, "audio", ("a", "b"), ended=False)]
    assert list(await worker.step(work, ())) == [
        Outcome(1, ("hello",), done=True),
        Outcome(2, ("a", "b"), done=False),
    ]
    await worker.close()


async def test_a_model_that_does_not_load_says_why(kind: Any) -> None:
    worker = make(kind, refuses_to_load)
    with pytest.raises(EngineError, match="the model is broken"):
        await worker.start()
    await worker.close()


async def test_a_constructor_that_raises_anything_is_an_engine_error(kind: Any) -> None:
    worker = make(kind, partial(Echo, unknown=1))  # type: ignore[call-arg]
    with pytest.raises(EngineError, match=r"TypeError: .*unknown"):
        await worker.start()
    await worker.close()


async def test_an_engine_that_raises_fails_the_step_and_goes_on(kind: Any) -> None:
    worker = make(kind, Echo)
    await worker.start()
    with pytest.raises(EngineError, match="ValueError: poisoned") as error:
        await worker.step([Work(1, "poison")], ())
    assert not isinstance(error.value, WorkerDied)
    assert list(await worker.step([Work(2, "fine")], ())) == [Outcome(2, ("fine",), done=True)]
    await worker.close()


class Particular(Echo):
    """Raises an error of its own kind; tells what it was made to forget."""

    def _one(self, work: Work) -> Outcome:
        if work.payload == "refuse":
            raise InvalidInput("no sound in it")
        return Outcome(work.job, tuple(self.dropped), done=True)


async def test_an_engines_own_errors_keep_their_kind(kind: Any) -> None:
    worker = make(kind, Particular)
    await worker.start()
    with pytest.raises(InvalidInput, match="no sound in it"):
        await worker.step([Work(1, "refuse")], ())
    await worker.close()


async def test_jobs_are_dropped_before_the_step_and_without_one(kind: Any) -> None:
    worker = make(kind, Particular)
    await worker.start()
    assert list(await worker.step([], [7])) == []
    (outcome,) = await worker.step([Work(1, "tell")], [8, 9])
    assert outcome.events == (7, 8, 9)
    await worker.close()


@pytest.mark.parametrize("kind_in_process", ["inline", "thread"])
async def test_closing_closes_the_engine_once(kind_in_process: Any) -> None:
    engine = Echo()
    worker = make(kind_in_process, lambda: engine)
    await worker.start()
    await worker.close()
    assert engine.closed
    await worker.close()


async def test_a_worker_that_never_started_can_be_closed(kind: Any) -> None:
    await make(kind, Echo).close()


async def test_a_thread_worker_builds_steps_and_closes_in_one_thread_off_the_loop() -> None:
    threads: list[int] = []

    class Noting(Echo):
        def __init__(self) -> None:
            super().__init__()
            threads.append(threading.get_ident())

        def _one(self, work: Work) -> Outcome:
            threads.append(threading.get_ident())
            return super()._one(work)

        def close(self) -> None:
            threads.append(threading.get_ident())

    worker = make("thread", Noting)
    await worker.start()
    await worker.step([Work(1, "x")], ())
    await worker.close()
    assert len(threads) == 3
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_closing_a_thread_worker_waits_for_the_step_that_runs() -> None:
    engine = Echo(step_seconds=0.2)
    worker = make("thread", lambda: engine)
    await worker.start()
    step = asyncio.create_task(worker.step([Work(1, "x")], ()))
    await asyncio.sleep(0.05)
    await worker.close()
    assert engine.closed
    assert list(await step) == [Outcome(1, ("x",), done=True)]


# Processes


async def started(build: Callable[[], Engine]) -> tuple[ProcessWorker, int]:
    worker = ProcessWorker(build)
    await worker.start()
    assert worker.pid is not None
    return worker, worker.pid


async def test_the_engine_lives_in_another_process_and_leaves_with_the_worker() -> None:
    worker, pid = await started(Echo)
    assert pid != os.getpid()
    await worker.close()
    assert await gone(pid)
    assert worker.pid is None
    with pytest.raises(WorkerDied):
        await worker.step([Work(1, "late")], ())


async def test_a_process_that_dies_in_a_step_is_noticed_and_can_be_started_again() -> None:
    worker, pid = await started(Echo)
    with pytest.raises(WorkerDied):
        await worker.step([Work(1, "kill")], ())
    assert await gone(pid)
    await worker.start()
    assert worker.pid != pid
    assert list(await worker.step([Work(2, "fine")], ())) == [Outcome(2, ("fine",), done=True)]
    await worker.close()


async def test_a_process_that_was_killed_between_steps_is_noticed_by_the_next() -> None:
    worker, pid = await started(Echo)
    os.kill(pid, signal.SIGKILL)
    assert await gone(pid)
    with pytest.raises(WorkerDied):
        await worker.step([Work(1, "hello")], ())
    await worker.close()


async def test_a_process_that_hangs_in_a_step_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STEP_SECONDS", 0.3)
    worker, pid = await started(partial(Echo, step_seconds=60.0))
    with pytest.raises(WorkerDied):
        await worker.step([Work(1, "slow")], ())
    assert await gone(pid)
    await worker.close()


async def test_a_process_that_does_not_leave_when_closed_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "CLOSE_SECONDS", 0.3)
    worker, pid = await started(partial(Echo, step_seconds=60.0))
    step = asyncio.create_task(worker.step([Work(1, "slow")], ()))
    await asyncio.sleep(0.05)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    await worker.close()
    assert await gone(pid)


async def test_a_process_that_does_not_leave_is_killed_when_closing_is_given_up() -> None:
    worker, pid = await started(partial(Echo, step_seconds=60.0))
    step = asyncio.create_task(worker.step([Work(1, "slow")], ()))
    await asyncio.sleep(0.05)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    closing = asyncio.create_task(worker.close())
    await asyncio.sleep(0.05)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert await gone(pid)


async def test_large_inputs_and_answers_pass_through_the_pipe() -> None:
    worker, _ = await started(Echo)
    large = bytes(range(256)) * 20_000
    (outcome,) = await worker.step([Work(1, large)], ())
    assert outcome.events == (large,)
    await worker.close()


class Talkative(Echo):
    """Prints where its answers go."""

    def _one(self, work: Work) -> Outcome:
        print("loading...", flush=True)
        os.write(1, b"from a C library\n")
        return super()._one(work)


async def test_what_an_engine_prints_does_not_disturb_its_answers() -> None:
    worker, _ = await started(Talkative)
    assert list(await worker.step([Work(1, "x")], ())) == [Outcome(1, ("x",), done=True)]
    await worker.close()


async def test_the_child_ends_when_its_parent_closes_the_pipe() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engines.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(pack(Echo))
    assert await child.stdout.read(1)
    child.stdin.close()
    async with asyncio.timeout(10):
        assert await child.wait() == 0


PARENT = """
import asyncio, sys
from stand_ins import Echo
from engines.workers import ProcessWorker

async def main():
    worker = ProcessWorker(Echo)
    await worker.start()
    print(worker.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_the_child_never_outlives_a_parent_that_was_killed() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT), stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    await parent.wait()
    assert await gone(pid)
