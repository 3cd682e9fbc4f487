"""The `antiphon` command. Heavy imports are made by the commands that need them."""

import os

# One BLAS thread: log-mel of short audio is three times cheaper so. Must precede numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import asyncio
import errno
import io
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

Result = TypeVar("Result")

app = typer.Typer(
    help="A local AI server for live speech: OpenAI's Realtime and REST APIs on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class TranscriptFormat(StrEnum):
    """What `antiphon transcribe` writes."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file (antiphon.yaml).")
]
UrlOption = Annotated[
    str | None, typer.Option(help="Server to use; else the configured one.", envvar="ANTIPHON_URL")
]
KeyOption = Annotated[str | None, typer.Option("--api-key", help="Key of that server.")]
ModelOption = Annotated[str | None, typer.Option(help="Transcription model; see: antiphon models.")]
LanguageOption = Annotated[str | None, typer.Option(help="Language spoken, as 'en' or 'fr'.")]
NoVerifyOption = Annotated[bool, typer.Option("--no-verify", help="Accept any certificate.")]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (8800).")] = None,
    config: ConfigOption = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve other machines without a key.")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key.")] = None,
    tls_self_signed: Annotated[
        bool, typer.Option("--tls-self-signed", help="Serve https with our own certificate.")
    ] = False,
) -> None:
    """Serve the page, the Realtime API and the REST API."""
    from realtime import log
    from realtime.serving import prepare
    from realtime.serving import serve as run

    overrides = {
        "server.host": host,
        "server.port": port,
        "server.log_level": log_level,
        "server.insecure": insecure or None,
        "server.tls_cert": None if tls_cert is None else str(tls_cert),
        "server.tls_key": None if tls_key is None else str(tls_key),
        "server.tls_self_signed": tls_self_signed or None,
    }

    def start() -> None:
        configuration, data = _configuration(config, overrides)
        log.configure(configuration.server.log_level)
        application, context = prepare(configuration, data)
        _run(run(application, configuration, context))

    _guarded(start)


@app.command()
def listen(
    url: UrlOption = None,
    api_key: KeyOption = None,
    model: ModelOption = None,
    language: LanguageOption = None,
    device: Annotated[str | None, typer.Option(help="Microphone, by name or number.")] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Show the microphones and leave.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write here.")] = None,
    file: Annotated[Path | None, typer.Option(help="A WAV file instead of a microphone.")] = None,
    config: ConfigOption = None,
    no_verify: NoVerifyOption = False,
) -> None:
    """Show what is said into the microphone, live."""
    from rich.console import Console

    from clients import listen as client

    def start() -> None:
        address, key = _server(url, api_key, config)
        options = client.ListenOptions(
            url=address,
            api_key=key,
            model=model,
            language=language,
            device=None if device is None else client.device(device),
            list_devices=list_devices,
            output=output,
            file=file,
            verify_tls=not no_verify,
        )
        _run(client.listen(options, Console()))

    _guarded(start)


@app.command()
def talk(
    model: Annotated[str | None, typer.Option(help="Language model; see: antiphon models.")] = None,
    voice: Annotated[str | None, typer.Option(help="Who answers; see: antiphon voices.")] = None,
    instructions: Annotated[str | None, typer.Option(help="What the assistant shall be.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Write instead of speaking.")] = False,
    speak: Annotated[bool, typer.Option("--speak", help="With --text: hear the answers.")] = False,
    headphones: Annotated[
        bool, typer.Option("--headphones", help="Interrupt answers by speaking over them.")
    ] = False,
    input: Annotated[str | None, typer.Option(help="Microphone, by name or number.")] = None,
    output: Annotated[str | None, typer.Option(help="Loudspeaker, by name or number.")] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Show microphones and loudspeakers and leave.")
    ] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    config: ConfigOption = None,
    no_verify: NoVerifyOption = False,
) -> None:
    """Speak or write with the assistant; without a server running, one is started."""
    from rich.console import Console

    from clients import talk_devices
    from clients.listen import device
    from clients.talk_options import TalkOptions
    from realtime.errands import talk_with

    def start() -> None:
        if list_devices:
            return talk_devices.list_devices(Console())
        configuration, data = _configuration(config, {})
        address, key = _server(url, api_key, config)
        options = TalkOptions(
            url=address,
            api_key=key,
            model=model,
            voice=voice,
            instructions=instructions,
            text=text,
            speak=speak,
            headphones=headphones,
            input=None if input is None else device(input),
            output=None if output is None else device(output),
            verify_tls=not no_verify,
        )
        _run(talk_with(options, configuration, data, own=url is None))

    _guarded(start)


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Audio or video files.")],
    format: Annotated[
        TranscriptFormat, typer.Option("--format", "-f", help="What to write.")
    ] = TranscriptFormat.TXT,
    model: ModelOption = None,
    language: LanguageOption = None,
    prompt: Annotated[str | None, typer.Option(help="Words to expect.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to, one file each.")
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    config: ConfigOption = None,
    no_verify: NoVerifyOption = False,
) -> None:
    """Transcribe files; without a server running, one is started for the duration."""
    from clients.transcribe import TranscribeOptions
    from realtime.errands import transcribe_files

    def start() -> None:
        # Read first: a mistake in the configuration is told before anything is uploaded.
        configuration, data = _configuration(config, {})
        address, key = _server(url, api_key, config)
        options = TranscribeOptions(
            url=address,
            api_key=key,
            model=model,
            language=language,
            prompt=prompt,
            format=format.value,
            output=output,
            verify_tls=not no_verify,
        )
        status = _run(transcribe_files(files, options, configuration, data, own=url is None))
        raise typer.Exit(status)

    _guarded(start)


@app.command()
def say(
    text: Annotated[
        str | None, typer.Argument(help="What to say; '-' or nothing: what comes on stdin.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Say what is in this text file.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write this .mp3, .opus, .aac, .flac, .wav or .pcm; play nothing.",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Loudspeaker, by name or number.")] = None,
    voice: Annotated[str | None, typer.Option(help="Who speaks; see: antiphon voices.")] = None,
    model: Annotated[str | None, typer.Option(help="Speech model; see: antiphon models.")] = None,
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="How fast, from 0.25 to 4.")] = 1,
    url: UrlOption = None,
    api_key: KeyOption = None,
    config: ConfigOption = None,
    no_verify: NoVerifyOption = False,
) -> None:
    """Say a text, or write it to a sound file; without a server running, one is started."""
    from clients.say import SayOptions, text_of
    from realtime.errands import say_text

    def start() -> None:
        said = text_of(text, file, sys.stdin)
        configuration, data = _configuration(config, {})
        address, key = _server(url, api_key, config)
        options = SayOptions(
            url=address,
            api_key=key,
            model=model,
            voice=voice,
            speed=speed,
            output=output,
            device=device,
            verify_tls=not no_verify,
        )
        _run(say_text(said, options, configuration, data, own=url is None))

    _guarded(start)


@app.command()
def models(config: ConfigOption = None) -> None:
    """List the models that are here and those that `antiphon pull` knows."""
    from realtime.errands import show_models

    _guarded(lambda: show_models(*_configuration(config, {})))


@app.command()
def voices(
    language: Annotated[
        str | None, typer.Option(help="Only those of a language, as 'en', 'en-us' or 'fr'.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """List the voices that `antiphon say` and the speech API can speak with."""
    from realtime.errands import show_voices

    _guarded(lambda: show_voices(*_configuration(config, {}), language))


@app.command()
def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="A short name (base, qwen3-0.6b; see: antiphon models), or one on the hub: "
            "owner/name, owner/name:Q4_K_M or owner/name/file.gguf."
        ),
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
) -> None:
    """Install a model from Hugging Face. An interrupted download goes on where it stopped."""
    from realtime.config import data_dir
    from realtime.errands import pull_model

    _guarded(lambda: pull_model(name, data_dir(os.environ), revision))


@app.command()
def check(config: ConfigOption = None) -> None:
    """Validate the configuration; say what can run here and what is missing."""
    from realtime.errands import check_machine

    def start() -> None:
        if not check_machine(*_configuration(config, {})):
            raise typer.Exit(1)

    _guarded(start)


@app.callback(invoke_without_command=True)
def _about(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True)
    ] = False,
) -> None:
    if show_version:
        from importlib.metadata import version

        typer.echo(f"antiphon {version('antiphon')}")
        raise typer.Exit


def _configuration(path: Path | None, overrides: dict[str, Any]) -> tuple[Any, Path]:
    from realtime.config import data_dir, load_configuration

    return load_configuration(path, os.environ, overrides), data_dir(os.environ)


def _server(url: str | None, key: str | None, config: Path | None) -> tuple[str, str | None]:
    """Address and key of the server to use: the one named, else the one configured here."""
    if url is not None:
        return url, key
    from realtime.config import configured_server

    address, own_key = configured_server(_configuration(config, {})[0])
    return address, key or own_key


def _run(main: Coroutine[Any, Any, Result]) -> Result:
    try:
        import uvloop
    except ImportError:  # no uvloop on this platform
        return asyncio.run(main)
    return uvloop.run(main)


def _guarded(command: Any) -> None:
    """Run a command; what can go wrong for a user is one line and an exit status."""
    from clients.wire import ClientError
    from engines.base import EngineError
    from engines.strict_yaml import ConfigError

    try:
        command()
    except (ClientError, ConfigError, EngineError) as error:
        _fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None


def _fail(message: str) -> NoReturn:
    typer.echo(f"antiphon: {message}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # which may lack letters that a transcript has
        sys.stdout.reconfigure(errors="replace")
    try:
        app(prog_name="antiphon")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit("antiphon: The output cannot be written: the disk is full.")


if __name__ == "__main__":
    main()
