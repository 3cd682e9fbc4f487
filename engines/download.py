"""Pulls Whisper models from the Hugging Face Hub, resuming where an earlier pull stopped.

The hub's own library is used for its session, addresses, tokens and errors. It cannot continue a
file after its process ended, and it reports to the hub which tools run it; so files are fetched
here, by byte range, with no more than a plain user agent.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import BaseModel, Field

from engines.base import EngineError
from engines.catalogue import (
    NEEDED_FILES,
    PARTIAL,
    RECORD_FILE,
    InstalledModel,
    ModelRecord,
    discard,
    lacking,
    missing_files,
    model_directory,
    read_installed,
)
from engines.known_models import KNOWN, find_known, is_repository
from engines.strict_yaml import nearest

if TYPE_CHECKING:
    from httpx2 import Response

OPTIONAL_FILES = ("preprocessor_config.json",)
HUB = "https://huggingface.co"
SPARE_BYTES = 64 << 20
"""Disk space left free beside a download."""
TIMEOUT = 20.0
"""Seconds without a byte after which a connection counts as lost."""
ATTEMPTS = 5
"""Connections lost in a row, without a byte between them, after which a pull gives up."""
FIRST_PAUSE = 0.5
"""Seconds before the first new attempt; each further one waits twice as long."""
PLAN_FILE = "pull.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is: bytes of all files, `done` including what an earlier pull left."""

    model: str
    file: str
    done: int
    total: int


class _LargeFile(BaseModel):
    sha256: str | None = None


class _File(BaseModel):
    """A file as the hub lists it; `blob` is git's digest of it, unless it is a large file."""

    name: str = Field(alias="rfilename")
    size: int | None = None
    blob: str | None = Field(default=None, alias="blobId")
    lfs: _LargeFile | None = None


class _Listing(BaseModel):
    """The hub's description of one revision of a repository."""

    sha: str | None = None
    siblings: tuple[_File, ...]


class _Refused(Exception):
    """The hub's answer was an error; `code` is its own name for it, if it gave one."""

    def __init__(self, answer: "Response") -> None:
        super().__init__(answer.status_code)
        self.status = answer.status_code
        self.code = answer.headers.get("x-error-code", "")

    @property
    def passing(self) -> bool:
        return self.status == 429 or self.status >= 500


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one pull fetches: the files of one commit of a repository, under one name."""

    name: str
    aliases: tuple[str, ...]
    repository: str
    endpoint: str
    token: str | None
    commit: str | None = None
    files: tuple[_File, ...] = ()

    @property
    def total(self) -> int:
        return sum(file.size or 0 for file in self.files)


def pull(
    name: str,
    data_dir: Path,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    endpoint: str | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> ModelRecord:
    """Install the model of this name (`base`, `turbo`, or any `owner/name` on the hub).

    Blocks for as long as it takes. `progress` is called with every piece that arrives; what it
    raises ends the pull, and what has arrived is kept for the next one. `endpoint` None means
    HF_ENDPOINT or Hugging Face; `token` None means HF_TOKEN or the one stored by its login.
    Raises `EngineError`.
    """
    plan = _looked_up(name, endpoint, token)
    directory = model_directory(data_dir, plan.name)
    partial = directory.with_name(directory.name + PARTIAL)
    with _errors_in_one_sentence(plan, partial):
        plan = _with_files(plan, revision)
        installed = _already_installed(directory, plan)
        if installed is None:
            with _only_pull_of(plan, directory):
                _keep_only(partial, plan)
                _check_space(partial, plan)
                _fetch_all(partial, plan, progress)
                installed = _finish(partial, directory, plan)
    return installed.record(directory)


def _looked_up(name: str, endpoint: str | None, token: str | None) -> _Plan:
    from huggingface_hub import get_token

    known = find_known(name)
    if known is None and not is_repository(name):
        near = nearest(name, KNOWN)
        meant = f"; did you mean '{near}'?" if near else "."
        raise EngineError(
            f"There is no model '{name}' to pull{meant} Known names: {', '.join(KNOWN)}; "
            "any 'owner/name' on Hugging Face that holds a CTranslate2 Whisper model works too."
        )
    return _Plan(
        name=known.name if known else name,
        aliases=known.aliases if known else (),
        repository=known.repository if known else name,
        endpoint=(endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/"),
        token=token or get_token(),
    )


def _headers(plan: _Plan) -> dict[str, str]:
    # Compressed answers have no length, and ranges of them mean nothing.
    headers = {"user-agent": "antiphon", "accept-encoding": "identity"}
    return headers | ({"authorization": f"Bearer {plan.token}"} if plan.token else {})


def _with_files(plan: _Plan, revision: str | None) -> _Plan:
    """Ask the hub which files the model has."""
    from huggingface_hub import get_session

    commit = quote(revision or "main", safe="")
    answer = get_session().get(
        f"{plan.endpoint}/api/models/{plan.repository}/revision/{commit}",
        params={"blobs": True},
        headers=_headers(plan),
        timeout=TIMEOUT,
    )
    if not answer.is_success:
        raise _Refused(answer)
    try:
        listing = _Listing.model_validate_json(answer.content)
    except ValueError:
        raise EngineError(
            f"{plan.endpoint} does not answer like the Hugging Face Hub; is HF_ENDPOINT right, "
            "or does this network ask for a login first?"
        ) from None
    files = tuple(file for file in listing.siblings if _wanted(file.name))
    missing = lacking([file.name for file in files])
    if missing:
        raise EngineError(
            f"'{plan.repository}' is not a CTranslate2 Whisper model: it has no {missing[0]}."
        )
    return replace(plan, commit=listing.sha, files=files)


def _wanted(name: str) -> bool:
    vocabulary = name.startswith("vocabulary.") and "/" not in name and "\\" not in name
    return vocabulary or name in NEEDED_FILES or name in OPTIONAL_FILES


def _already_installed(directory: Path, plan: _Plan) -> InstalledModel | None:
    try:
        installed = read_installed(directory)
    except EngineError:
        return None
    same = installed.repository == plan.repository and installed.revision == plan.commit
    return installed if same and plan.commit is not None else None


@contextmanager
def _only_pull_of(plan: _Plan, directory: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory.with_name(f".{directory.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EngineError(f"'{plan.name}' is being pulled already.") from None
    try:
        yield
    finally:
        lock.release()


def _keep_only(partial: Path, plan: _Plan) -> None:
    """Forget what an earlier pull left, unless it is of the same commit."""
    mark = {"repository": plan.repository, "commit": plan.commit}
    path = partial / PLAN_FILE
    try:
        same = plan.commit is not None and json.loads(path.read_bytes()) == mark
    except (FileNotFoundError, ValueError):
        same = False
    if not same:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        path.write_text(json.dumps(mark))


def _check_space(partial: Path, plan: _Plan) -> None:
    present = sum(path.stat().st_size for path in partial.iterdir())
    needed = plan.total - present
    free = shutil.disk_usage(partial).free
    if needed + SPARE_BYTES > free:
        raise EngineError(
            f"'{plan.name}' needs {_megabytes(needed + SPARE_BYTES)} more on the disk, but "
            f"{partial.parent} has only {_megabytes(free)} free."
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(0, count) / 1e6:.0f} MB"


def _fetch_all(partial: Path, plan: _Plan, progress: Callable[[Progress], None]) -> None:
    done = 0
    for file in plan.files:
        path = partial / file.name
        before = done

        def report(size: int, file: _File = file, before: int = before) -> None:
            progress(Progress(plan.name, file.name, before + size, plan.total))

        _fetch(path, file, plan, report)
        done = before + path.stat().st_size
    for file in plan.files:
        _verify(partial / file.name, file)


def _fetch(path: Path, file: _File, plan: _Plan, report: Callable[[int], None]) -> None:
    """Bring one file to its whole size; a lost connection is taken up again where it broke."""
    from httpx2 import TransportError

    lost = 0
    while True:
        size = path.stat().st_size if path.exists() else 0
        if file.size is None or size > file.size:
            path.unlink(missing_ok=True)
            size = 0
        report(size)
        if size == file.size:
            path.touch()
            return
        try:
            _fetch_from(path, size, file, plan, report)
        except (TransportError, _Refused) as error:
            if isinstance(error, _Refused) and not error.passing:
                raise
            grown = path.exists() and path.stat().st_size > size
            lost = 1 if grown else lost + 1
            if lost == ATTEMPTS:
                raise
            time.sleep(min(8.0, FIRST_PAUSE * 2 ** (lost - 1)))
            continue
        if file.size is None:
            return
        if path.stat().st_size != file.size:
            path.unlink()
            raise EngineError(
                f"{plan.endpoint} sent {file.name} of another size than it announced."
            )


def _fetch_from(
    path: Path, start: int, file: _File, plan: _Plan, report: Callable[[int], None]
) -> None:
    from huggingface_hub import get_session, hf_hub_url

    url = hf_hub_url(
        plan.repository, file.name, revision=plan.commit or "main", endpoint=plan.endpoint
    )
    headers = _headers(plan) | ({"range": f"bytes={start}-"} if start else {})
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as answer:
        if not answer.is_success:
            raise _Refused(answer)
        # A server that knows no ranges sends everything again.
        size = start if answer.status_code == 206 else 0
        with path.open("ab" if size else "wb", buffering=0) as out:
            for piece in answer.iter_bytes():
                size += out.write(piece) or 0
                report(size)


def _verify(path: Path, file: _File) -> None:
    """Compare a file with the digest that the hub has of it."""
    size = path.stat().st_size
    with path.open("rb") as opened:
        if file.lfs is not None and file.lfs.sha256 is not None:
            same = hashlib.file_digest(opened, "sha256").hexdigest() == file.lfs.sha256
        elif file.lfs is None and file.blob is not None:
            digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            while piece := opened.read(1 << 20):
                digest.update(piece)
            same = digest.hexdigest() == file.blob
        else:
            same = True
    if not same:
        path.unlink()
        raise EngineError(f"{file.name} arrived damaged; pull again to fetch that file anew.")


def _finish(partial: Path, directory: Path, plan: _Plan) -> InstalledModel:
    missing = missing_files(partial)
    if missing:
        raise EngineError(f"'{plan.repository}' has an empty {missing[0]}.")
    installed = InstalledModel(
        name=plan.name,
        engine="whisper",
        aliases=plan.aliases,
        repository=plan.repository,
        revision=plan.commit,
        installed_at=time.time(),
        bytes=sum((partial / file.name).stat().st_size for file in plan.files),
    )
    (partial / RECORD_FILE).write_text(installed.model_dump_json(indent=2))
    (partial / PLAN_FILE).unlink()
    if directory.exists():
        discard(directory)
    partial.rename(directory)
    return installed


@contextmanager
def _errors_in_one_sentence(plan: _Plan, partial: Path) -> Iterator[None]:
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise EngineError("Nothing can be pulled while HF_HUB_OFFLINE is set.") from None
    except _Refused as refused:
        raise EngineError(_refusal(plan, refused)) from None
    except (HTTPError, InvalidURL) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EngineError(
            f"{plan.endpoint} cannot be reached ({reason}); check the network and pull again, "
            "what has arrived is kept."
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EngineError(f"The disk that holds {partial.parent} is full.") from None
        reason = error.strerror or str(error)
        raise EngineError(f"{partial.parent} cannot be written: {reason}.") from None


def _refusal(plan: _Plan, refused: _Refused) -> str:
    if refused.code == "GatedRepo":
        return (
            f"'{plan.repository}' is gated: accept its terms at {plan.endpoint}/{plan.repository}, "
            "then set HF_TOKEN to a token of that account."
        )
    if refused.code == "RevisionNotFound":
        return f"'{plan.repository}' has no such revision."
    if refused.status in (401, 404):
        # The hub answers 401 both for what is private and for what does not exist.
        hint = "check HF_TOKEN" if plan.token else "set HF_TOKEN"
        return (
            f"{plan.endpoint} has no model '{plan.repository}', or it is private; if it is, {hint}."
        )
    if refused.status == 403:
        return f"{plan.endpoint} refuses access to '{plan.repository}'; check HF_TOKEN."
    return f"{plan.endpoint} answered {refused.status} for '{plan.repository}'; try again later."
