"""What the commands beside `serve` do."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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

from clients.transcribe import TranscribeOptions, transcribe
from engines import download
from engines.base import EngineError
from engines.catalogue import Catalogue, ModelRecord
from engines.devices import Device
from engines.gguf_files import read_metadata
from engines.known_models import KNOWN
from engines.models import ModelStore
from engines.scheduler import Scheduler
from pipelines.loader import CAPTIONS, load_plan
from realtime.app import cores
from realtime.config import Configuration, check_exposure
from realtime.services import BETTER, BUILT_IN
from realtime.serving import prepare, serving

_PURPOSES = {
    "transcription": "",
    "chat": " for chat",
    "embedding": " for embeddings",
    "rerank": " for reranking",
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
        own_options = replace(options, url=url, api_key=keys[0] if keys else None)
        return await transcribe(files, own_options, console)


async def _answers(url: str) -> bool:
    """Whether something listens at the server's address."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


def show_models(configuration: Configuration, data_dir: Path) -> None:
    """Print the models that are here, and those that can be pulled."""
    console = Console()
    catalogue = _catalogue(configuration, data_dir)
    console.print(_speech_models(catalogue))
    language = [record for record in catalogue.records() if _writes(catalogue, record)]
    if language:
        console.print()
        console.print(_language_models(catalogue, language))
    here = {record.name for record in catalogue.records()}
    absent = [(name, known.kind) for name, known in KNOWN.items() if known.name not in here]
    by_purpose = (
        (", ".join(name for name, its_kind in absent if its_kind == kind), purpose)
        for kind, purpose in _PURPOSES.items()
    )
    shown = ";\n".join(f"{names}{purpose}" for names, purpose in by_purpose if names)
    console.print(f"\nTo install: antiphon pull NAME, where NAME is {shown}")
    for problem in catalogue.problems():
        console.print(f"[red]{escape(problem)}[/]", highlight=False, soft_wrap=True)


def _catalogue(configuration: Configuration, data_dir: Path) -> Catalogue:
    return Catalogue(
        data_dir,
        configuration.models,
        default=configuration.defaults.transcription,
        language_default=configuration.local_chat,
    )


def _writes(catalogue: Catalogue, record: ModelRecord) -> bool:
    return catalogue.kind(record) != "transcription"


def _speech_models(catalogue: Catalogue) -> Table:
    store = ModelStore(catalogue, Scheduler(Device(1)))
    default = _name_of(catalogue.default_transcription)
    table = Table("model", "engine", "languages", "aliases", box=None, header_style="bold")
    for record in catalogue.records():
        if not _writes(catalogue, record):
            languages = store.capabilities(record).languages
            shown = "any" if languages is None else _listed(sorted(languages))
            name = f"{record.name} (default)" if record.name == default else record.name
            row = (name, record.engine, shown, ", ".join(record.aliases))
            table.add_row(*map(escape, row))
    return table


def _language_models(catalogue: Catalogue, records: Sequence[ModelRecord]) -> Table:
    default = _name_of(catalogue.default_language)
    columns = ("model", "engine", "kind", "size", "context", "aliases")
    table = Table(*columns, box=None, header_style="bold")
    for record in records:
        name = f"{record.name} (default)" if record.name == default else record.name
        size, context = _size(record)
        row = (name, record.engine, catalogue.kind(record), size, context)
        table.add_row(*map(escape, (*row, ", ".join(record.aliases))))
    return table


def _size(record: ModelRecord) -> tuple[str, str]:
    """How many weights of which form a language model has, and how many tokens it can see."""
    try:
        metadata = read_metadata(Path(record.source or ""))
    except EngineError:
        return "?", "?"  # it went away since the catalogue looked
    parameters = metadata.parameters
    weights = metadata.size_label or (f"{parameters / 1e6:.0f}M" if parameters else "")
    size = " ".join(part for part in (weights, metadata.quantisation) if part)
    return size, str(metadata.context_length or "")


def _name_of(default: Callable[[], ModelRecord]) -> str | None:
    try:
        return default().name
    except EngineError:
        return None  # one of the problems, which are told last


def _listed(languages: Sequence[str]) -> str:
    return ", ".join(languages) if len(languages) <= 4 else f"{len(languages)} languages"


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
    ):
        yield util.find_spec(module) is not None, f"{module}: {purpose}"
    catalogue = _catalogue(configuration, data_dir)
    if any(_writes(catalogue, record) for record in catalogue.records()):
        here = util.find_spec("llama_cpp") is not None
        yield here, "llama_cpp: language models" + ("" if here else "; run: uv sync --extra llama")
    for what, default in (
        ("transcription", catalogue.default_transcription),
        ("language", catalogue.default_language),
    ):
        name = _name_of(default)
        if name is not None:
            yield True, f"{what} model: {name}"
    for problem in catalogue.problems():
        yield False, problem
    directory = data_dir if data_dir.exists() else data_dir.parent
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free / 1e9
    yield os.access(directory, os.W_OK), f"data: {data_dir} ({free:.0f} GB free)"


def _advice(configuration: Configuration, data_dir: Path) -> Iterator[str]:
    yield f"{cores()} cores for models"
    catalogue = Catalogue(data_dir, configuration.models)
    heard = [record for record in catalogue.records() if not _writes(catalogue, record)]
    if all(record.engine == BUILT_IN for record in heard):
        yield f"only the small built-in model is here; install a better one: {BETTER}"
    try:
        import sounddevice  # noqa: F401 - asked for its library only
    except OSError:
        yield (
            "no PortAudio: 'antiphon listen' needs it (Debian, Ubuntu: "
            "sudo apt install libportaudio2); the page does not"
        )
    if not configuration.server.tls:
        yield "phones and other machines need https for the microphone: serve --tls-self-signed"
