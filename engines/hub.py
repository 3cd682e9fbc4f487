"""The Hugging Face Hub: what a repository holds, and its files, fetched by byte range.

The hub's own library is used for its session, addresses, tokens and errors. It cannot continue a
file after its process ended, and it reports to the hub which tools run it; so files are fetched
here, with no more than a plain user agent.
"""

import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import BaseModel, Field

from engines.base import EngineError

if TYPE_CHECKING:
    from httpx2 import Response

TIMEOUT = 20.0
"""Seconds without a byte after which a connection counts as lost."""
ATTEMPTS = 5
"""Connections lost in a row, none of which brought anything new, after which a pull gives up."""
FIRST_PAUSE = 0.5
"""Seconds before the first new attempt; each further one waits twice as long."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One commit of a repository (None: the newest), and how to get at it."""

    name: str
    endpoint: str
    token: str | None
    commit: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        # Compressed answers have no length, and ranges of them mean nothing.
        headers = {"user-agent": "antiphon", "accept-encoding": "identity"}
        return headers | ({"authorization": f"Bearer {self.token}"} if self.token else {})


class LargeFile(BaseModel):
    """What the hub says of a file that it keeps outside git."""

    sha256: str | None = None


class HubFile(BaseModel):
    """A file as the hub lists it; `blob` is git's digest of it, unless it is a large file."""

    name: str = Field(alias="rfilename")
    size: int | None = None
    blob: str | None = Field(default=None, alias="blobId")
    lfs: LargeFile | None = None

    @property
    def local(self) -> str:
        """What it is called here, where no folders are kept."""
        return self.name.rpartition("/")[2]


class _Listing(BaseModel):
    """The hub's description of one revision of a repository."""

    sha: str | None = None
    siblings: tuple[HubFile, ...]


class _Refused(Exception):
    """The hub's answer was an error; `code` is its own name for it, if it gave one."""

    def __init__(self, answer: "Response") -> None:
        super().__init__(answer.status_code)
        self.status = answer.status_code
        self.code = answer.headers.get("x-error-code", "")

    @property
    def passing(self) -> bool:
        return self.status == 429 or self.status >= 500


def list_files(
    repository: Repository, revision: str | None
) -> tuple[Repository, tuple[HubFile, ...]]:
    """Ask the hub what a revision (None: main) holds, and of which commit that is."""
    from huggingface_hub import get_session

    commit = quote(revision or "main", safe="")
    answer = get_session().get(
        f"{repository.endpoint}/api/models/{repository.name}/revision/{commit}",
        params={"blobs": True},
        headers=repository.headers,
        timeout=TIMEOUT,
    )
    if not answer.is_success:
        raise _Refused(answer)
    try:
        listing = _Listing.model_validate_json(answer.content)
    except ValueError:
        raise EngineError(
            f"{repository.endpoint} does not answer like the Hugging Face Hub; is HF_ENDPOINT "
            "right, or does this network ask for a login first?"
        ) from None
    return replace(repository, commit=listing.sha), listing.siblings


def fetch(path: Path, file: HubFile, repository: Repository, report: Callable[[int], None]) -> None:
    """Bring one file to its whole size; a lost connection is taken up again where it broke.

    `report` is told the size with every piece.
    """
    from httpx2 import TransportError

    lost = reached = 0
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
            _fetch_from(path, size, file, repository, report)
        except (TransportError, _Refused) as error:
            if isinstance(error, _Refused) and not error.passing:
                raise
            arrived = path.stat().st_size if path.exists() else 0
            lost = 1 if arrived > max(size, reached) else lost + 1
            reached = max(arrived, reached)
            if lost == ATTEMPTS:
                raise
            time.sleep(min(8.0, FIRST_PAUSE * 2 ** (lost - 1)))
            continue
        if file.size is None:
            return
        if path.stat().st_size != file.size:
            path.unlink()
            raise EngineError(
                f"{repository.endpoint} sent {file.name} of another size than it announced."
            )


def _fetch_from(
    path: Path, start: int, file: HubFile, repository: Repository, report: Callable[[int], None]
) -> None:
    from huggingface_hub import get_session, hf_hub_url

    url = hf_hub_url(
        repository.name,
        file.name,
        revision=repository.commit or "main",
        endpoint=repository.endpoint,
    )
    headers = repository.headers | ({"range": f"bytes={start}-"} if start else {})
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as answer:
        if not answer.is_success:
            raise _Refused(answer)
        # A server that knows no ranges sends everything again.
        size = start if answer.status_code == 206 else 0
        with path.open("ab" if size else "wb", buffering=0) as out:
            for piece in answer.iter_bytes():
                size += out.write(piece) or 0
                report(size)


def verify(path: Path, file: HubFile) -> None:
    """Compare a file with the digest that the hub has of it. Raises `EngineError`."""
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


@contextmanager
def errors_in_one_sentence(repository: Repository, directory: Path) -> Iterator[None]:
    """Turn what the hub, the network or the disk under `directory` refuse into `EngineError`s."""
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise EngineError("Nothing can be pulled while HF_HUB_OFFLINE is set.") from None
    except _Refused as refused:
        raise EngineError(_refusal(repository, refused)) from None
    except (HTTPError, InvalidURL) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EngineError(
            f"{repository.endpoint} cannot be reached ({reason}); check the network and pull "
            "again, what has arrived is kept."
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EngineError(f"The disk that holds {directory} is full.") from None
        reason = error.strerror or str(error)
        raise EngineError(f"{directory} cannot be written: {reason}.") from None


def _refusal(repository: Repository, refused: _Refused) -> str:
    name, endpoint = repository.name, repository.endpoint
    if refused.code == "GatedRepo":
        return (
            f"'{name}' is gated: accept its terms at {endpoint}/{name}, "
            "then set HF_TOKEN to a token of that account."
        )
    if refused.code == "RevisionNotFound":
        return f"'{name}' has no such revision."
    if refused.status in (401, 404):
        # The hub answers 401 both for what is private and for what does not exist.
        hint = "check HF_TOKEN" if repository.token else "set HF_TOKEN"
        return f"{endpoint} has no model '{name}', or it is private; if it is, {hint}."
    if refused.status == 403:
        return f"{endpoint} refuses access to '{name}'; check HF_TOKEN."
    return f"{endpoint} answered {refused.status} for '{name}'; try again later."
