"""What the commands beside `serve` do."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib import util
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from clients.say import SayOptions, say, sink_for
from clients.talk import talk
from clients.talk_devices import open_devices, screen_for
from clients.talk_options import TalkOptions
from clients.transcribe import TranscribeOptions, transcribe
from engines import download
from engines.base import EngineError
from engines.catalogue import Catalogue
from engines.devices import Device
from engines.known_models import KNOWN
from engines.models import ModelStore
from engines.scheduler import Scheduler
from engines.voices import Voices
from pipelines.loader import CAPTIONS, load_plan
from realtime.app import cores
from realtime.config import Configuration, check_exposure
from realtime.model_tables import WRITING, name_of, of_kinds, tables
from realtime.services import BETTER, BETTER_VOICE, BUILT_IN
from realtime.serving import prepare, serving

_PURPOSES = {
    "transcription": "",
    "chat": " for chat",
    "embedding": " for embeddings",
    "rerank": " for reranking",
    "speech": " to speak",
}
_MARKS = {True: "[green]✓[/]", False: "[red]✗[/]"}


async def transcribe_files(
    files: Sequence[Path],
    options: TranscribeOptions,
    configuration: Configuration,
    data_dir: Path,
    *,
    own: bool,
) -> int:
    """Transcribe with the server at `options.url`; `own` allows to start one if none answers."""
    console = Console()
    readable = await asyncio.to_thread(lambda: any(file.is_file() for file in files))
    if not (own and readable) or await _answers(options.url):
        return await transcribe(files, options, console)
    async with _own_server(configuration, data_dir) as (url, key):
        return await transcribe(files, replace(options, url=url, api_key=key), console)


async def say_text(
    text: str, options: SayOptions, configuration: Configuration, data_dir: Path, *, own: bool
) -> None:
    """Speak with the server at `options.url`; `own` allows to start one if none answers."""
    async with sink_for(options) as sink:
        if not own or await _answers(options.url):
            return await say(text, options, sink)
        async with _own_server(configuration, data_dir) as (url, key):
            await say(text, replace(options, url=url, api_key=key), sink)


async def talk_with(
    options: TalkOptions, configuration: Configuration, data_dir: Path, *, own: bool
) -> None:
    """Talk with the server at `options.url`; `own` allows to start one if none answers."""
    async with open_devices(options) as devices:
        screen = screen_for(options, devices, Console())
        if not own or await _answers(options.url):
            return await talk(options, devices, screen)
        async with _own_server(configuration, data_dir) as (url, key):
            await talk(replace(options, url=url, api_key=key), devices, screen)


@asynccontextmanager
async def _own_server(
    configuration: Configuration, data_dir: Path
) -> AsyncIterator[tuple[str, str | None]]:
    """A server on this machine while the block runs: its URL and its key."""
    local = configuration.model_copy(
        update={
            "server": configuration.server.model_copy(
                update={"host": "127.0.0.1", "port": 0, "tls_self_signed": False, "tls_cert": None}
            )
        }
    )
    app, context = await asyncio.to_thread(prepare, local, data_dir)
    keys = local.server.keys
    async with serving(app, local, context) as url:
        yield url, keys[0] if keys else None


async def _answers(url: str) -> bool:
    """Whether something listens at the server's address."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (OSError, TimeoutError, UnicodeError):  # the last for a name that DNS cannot hold
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


def show_voices(configuration: Configuration, data_dir: Path, language: str | None) -> None:
    """Print the voices that can be asked for, of one language or all. Raises `EngineError`."""
    _, voices = _voices(configuration, _catalogue(configuration, data_dir))
    shown = [voice for voice in voices.names() if _speaks(voice.language, language)]
    if not shown:
        raise EngineError(f"No voice here speaks '{language}'; antiphon voices shows them all.")
    table = Table("voice", "model", "language", "description", box=None, header_style="bold")
    for voice in shown:
        row = (voice.name, voice.model, voice.language or "", voice.description)
        table.add_row(*map(escape, row))
    console = Console()
    console.print(table)
    for problem in voices.problems():
        console.print(f"[red]{escape(problem)}[/]", highlight=False, soft_wrap=True)


def _speaks(spoken: str | None, asked: str | None) -> bool:
    """Whether a language is the one that is asked for, or (as `en-us` is of `en`) a kind of it."""
    if asked is None:
        return True
    tag, wanted = (name.lower().replace("_", "-") for name in (spoken or "", asked))
    return tag == wanted or tag.startswith(f"{wanted}-")


def show_models(configuration: Configuration, data_dir: Path) -> None:
    """Print the models that are here, and those that can be pulled."""
    console = Console()
    catalogue = _catalogue(configuration, data_dir)
    store, voices = _voices(configuration, catalogue)
    for number, table in enumerate(tables(store, voices)):
        if number:
            console.print()
        console.print(table)
    here = {record.name for record in catalogue.records()}
    absent = [(name, known.kind) for name, known in KNOWN.items() if known.name not in here]
    by_purpose = (
        (", ".join(name for name, its_kind in absent if its_kind == kind), purpose)
        for kind, purpose in _PURPOSES.items()
    )
    shown = ";\n".join(f"{names}{purpose}" for names, purpose in by_purpose if names)
    console.print(f"\nTo install: antiphon pull NAME, where NAME is {shown}")
    for problem in (*catalogue.problems(), *voices.problems()):
        console.print(f"[red]{escape(problem)}[/]", highlight=False, soft_wrap=True)


def _catalogue(configuration: Configuration, data_dir: Path) -> Catalogue:
    return Catalogue(
        data_dir,
        configuration.models,
        default=configuration.defaults.transcription,
        language_default=configuration.local_chat,
        speech_default=configuration.defaults.speech,
    )


def _voices(configuration: Configuration, catalogue: Catalogue) -> tuple[ModelStore, Voices]:
    store = ModelStore(catalogue, Scheduler(Device(1)))
    return store, Voices(store, configuration.voices, configuration.defaults.voice)


def pull_model(name: str, data_dir: Path, revision: str | None) -> None:
    """Download a model with a progress bar. Raises `EngineError`."""
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console)
    task = bar.add_task(name, total=None)

    def show(now: download.Progress) -> None:
        bar.start()  # only now, since a name that cannot be pulled needs no bar
        bar.update(task, completed=now.done, total=now.total, description=now.model)

    try:
        record = download.pull(name, data_dir, progress=show, revision=revision)
    finally:
        if bar.live.is_started:
            bar.stop()
    console.print(f"Installed [bold]{record.name}[/]. A running server uses it after a restart.")


def check_machine(configuration: Configuration, data_dir: Path) -> bool:
    """Print what can run here; whether nothing that is configured is broken."""
    console = Console()
    healthy = True
    for works, line in _findings(configuration, data_dir):
        console.print(f"{_MARKS[works]} {escape(line)}", highlight=False, soft_wrap=True)
        healthy &= works
    for line in _advice(configuration, data_dir):
        console.print(f"[yellow]·[/] {escape(line)}", highlight=False, soft_wrap=True)
    return healthy


def _findings(configuration: Configuration, data_dir: Path) -> Iterator[tuple[bool, str]]:
    check_exposure(configuration)
    yield True, f"configuration: listens on {configuration.server.host}:{configuration.server.port}"
    plan = load_plan(CAPTIONS)
    yield True, f"pipeline {plan.name}: {' → '.join(node.name for node in plan.nodes)}"
    for module, purpose in (
        ("faster_whisper", "voice activity and Whisper"),
        ("pocketsphinx", "built-in transcription"),
        ("av", "audio and video files"),
        ("espeakng_loader", "built-in speech"),
        ("piper", "Piper voices"),
    ):
        yield util.find_spec(module) is not None, f"{module}: {purpose}"
    catalogue = _catalogue(configuration, data_dir)
    if of_kinds(catalogue, WRITING):
        here = util.find_spec("llama_cpp") is not None
        yield here, "llama_cpp: language models" + ("" if here else "; run: uv sync --extra llama")
    for what, default in (
        ("transcription", catalogue.default_transcription),
        ("language", catalogue.default_language),
        ("speech", catalogue.default_speech),
    ):
        name = name_of(default)
        if name is not None:
            yield True, f"{what} model: {name}"
    _, voices = _voices(configuration, catalogue)
    for problem in (*catalogue.problems(), *voices.problems()):
        yield False, problem
    directory = data_dir if data_dir.exists() else data_dir.parent
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free / 1e9
    usable = directory.is_dir() and os.access(directory, os.W_OK)
    yield usable, f"data: {data_dir} ({free:.0f} GB free)"


def _advice(configuration: Configuration, data_dir: Path) -> Iterator[str]:
    yield f"{cores()} cores for models"
    catalogue = Catalogue(data_dir, configuration.models)
    heard = of_kinds(catalogue, ("transcription",))
    if all(record.engine == BUILT_IN for record in heard):
        yield f"only the small built-in model is here; install a better one: {BETTER}"
    if all(record.engine == "espeak" for record in of_kinds(catalogue, ("speech",))):
        yield f"only the robotic built-in voices are here; install a better one: {BETTER_VOICE}"
    try:
        import sounddevice  # noqa: F401 - asked for its library only
    except OSError:
        yield (
            "no PortAudio: 'antiphon listen' and 'antiphon talk' need it (Debian, Ubuntu: "
            "sudo apt install libportaudio2); the page does not"
        )
    if not configuration.server.tls:
        yield "phones and other machines need https for the microphone: serve --tls-self-signed"
