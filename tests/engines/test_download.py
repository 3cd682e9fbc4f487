import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import huggingface_hub
import pytest
from fake_hub import COMMIT, Hub
from gguf_headers import MEAN, gguf_bytes
from huggingface_hub import constants
from piper_voices import description, network
from voice import ROOT, WHISPER_NANO

from engines.base import EngineError
from engines.catalogue import Catalogue, ModelRecord
from engines.download import Progress, pull
from engines.hub import ATTEMPTS
from engines.installed import read_installed

SIZE = (WHISPER_NANO / "model.bin").stat().st_size


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with fake_hub.serving() as hub:
        yield hub
        huggingface_hub.close_session()


@pytest.fixture(autouse=True)
def retries_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.hub.FIRST_PAUSE", 0.001)


def refusal(name: str, data_dir: Path, endpoint: str) -> str:
    with pytest.raises(EngineError) as caught:
        pull(name, data_dir, endpoint=endpoint)
    message = str(caught.value)
    assert "\n" not in message
    return message


def check_installed(directory: Path, hub: Hub) -> None:
    for name in ("model.bin", "tokenizer.json", "config.json", "vocabulary.json"):
        assert (directory / name).read_bytes() == hub.files[name]
    assert not (directory / "README.md").exists()
    assert not (directory / "pytorch_model.bin").exists()
    assert not list(directory.parent.glob("*.partial"))


def test_a_short_name_is_pulled_whole_and_recorded(hub: Hub, tmp_path: Path) -> None:
    seen: list[Progress] = []
    record = pull("tiny", tmp_path, endpoint=hub.url, progress=seen.append)
    assert record.name == "whisper-tiny"
    assert record.engine == "whisper"
    assert record.aliases == ("tiny", "Systran/faster-whisper-tiny")
    directory = tmp_path / "models" / "whisper-tiny"
    assert record.source == str(directory)
    check_installed(directory, hub)
    installed = read_installed(directory)
    assert installed.revision == COMMIT
    assert installed.repository == "Systran/faster-whisper-tiny"
    assert installed.bytes == seen[-1].total
    assert abs(installed.installed_at - time.time()) < 60
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[0].done == 0
    assert seen[-1].done == seen[-1].total > SIZE
    assert len(seen) > 20
    assert hub.agents == {"antiphon"}
    assert Catalogue(tmp_path).resolve("tiny") == record


def test_any_repository_is_pulled_under_its_own_name(hub: Hub, tmp_path: Path) -> None:
    hub.repository = "someone/my-whisper"
    record = pull("someone/my-whisper", tmp_path, endpoint=hub.url)
    assert record.name == "someone/my-whisper"
    check_installed(tmp_path / "models" / "someone--my-whisper", hub)
    assert Catalogue(tmp_path).resolve("someone/my-whisper") == record


def test_a_pulled_model_is_not_fetched_again_until_the_hub_has_a_newer_one(
    hub: Hub, tmp_path: Path
) -> None:
    first = pull("tiny", tmp_path, endpoint=hub.url)
    hub.asked.clear()
    assert pull("whisper-tiny", tmp_path, endpoint=hub.url) == first
    assert hub.asked == []
    hub.commit = "f" * 40
    hub.files["config.json"] = b'{"newer": true}'
    assert pull("Systran/faster-whisper-tiny", tmp_path, endpoint=hub.url) == first
    directory = tmp_path / "models" / "whisper-tiny"
    check_installed(directory, hub)
    assert read_installed(directory).revision == "f" * 40
    assert [p.name for p in directory.parent.iterdir() if p.is_dir()] == ["whisper-tiny"]


def test_a_pull_that_is_stopped_while_it_deletes_the_older_model_has_the_newer_one(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull("tiny", tmp_path, endpoint=hub.url)
    hub.commit = "f" * 40
    hub.files["config.json"] = b'{"newer": true}'
    directory = tmp_path / "models" / "whisper-tiny"

    def stopped(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt

    monkeypatch.setattr("engines.installed.shutil.rmtree", stopped)
    with pytest.raises(KeyboardInterrupt):
        pull("tiny", tmp_path, endpoint=hub.url)
    monkeypatch.undo()
    check_installed(directory, hub)
    assert read_installed(directory).revision == "f" * 40
    hub.asked.clear()
    assert pull("tiny", tmp_path, endpoint=hub.url).source == str(directory)
    assert hub.asked == []


def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.cut_at = 3_000_000
    pull("tiny", tmp_path, endpoint=hub.url)
    whole, rest = hub.ranges_of("model.bin")
    assert whole is None
    assert rest is not None
    assert 0 < int(rest.removeprefix("bytes=").removesuffix("-")) <= 3_000_000
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.refuse_files = [503, 429, 500]
    pull("tiny", tmp_path, endpoint=hub.url)
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


def test_a_hub_that_stays_broken_ends_the_pull(hub: Hub, tmp_path: Path) -> None:
    hub.refuse_files = [503] * ATTEMPTS
    message = refusal("tiny", tmp_path, hub.url)
    assert message == (
        f"{hub.url} answered 503 for 'Systran/faster-whisper-tiny'; try again later."
    )
    assert len(hub.asked) == ATTEMPTS


@pytest.mark.parametrize("sizes", [True, False])
def test_a_connection_that_never_comes_further_ends_the_pull(
    hub: Hub, tmp_path: Path, sizes: bool
) -> None:
    hub.ranges, hub.sizes = False, sizes
    places = iter([300_000, *[200_000, 250_000] * 20])

    def cut_again(progress: Progress) -> None:
        if progress.file == "model.bin" and hub.cut_at is None:
            hub.cut_at = next(places)

    with pytest.raises(EngineError, match="cannot be reached"):
        pull("tiny", tmp_path, endpoint=hub.url, progress=cut_again)
    assert len(hub.ranges_of("model.bin")) == ATTEMPTS


class Stopped(Exception):
    pass


def test_what_progress_raises_stops_the_pull_and_the_next_one_goes_on(
    hub: Hub, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.file == "model.bin" and progress.done > SIZE // 2:
            raise Stopped

    with pytest.raises(Stopped):
        pull("tiny", tmp_path, endpoint=hub.url, progress=stop)
    assert Catalogue(tmp_path).problems() == []
    partial = tmp_path / "models" / "whisper-tiny.partial" / "model.bin"
    kept = partial.stat().st_size
    assert SIZE // 4 < kept < SIZE
    seen: list[Progress] = []
    pull("tiny", tmp_path, endpoint=hub.url, progress=seen.append)
    assert hub.ranges_of("model.bin") == [None, f"bytes={kept}-"]
    assert max(p.done for p in seen) == seen[-1].total
    assert seen[0].done <= kept
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


@pytest.mark.one_loop
def test_a_killed_pull_is_resumed(hub: Hub, tmp_path: Path) -> None:
    hub.stall_at = 4_000_000
    code = (
        "import sys; from pathlib import Path; from engines.download import pull; "
        "pull('tiny', Path(sys.argv[1]), endpoint=sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), hub.url], cwd=ROOT)
    partial = tmp_path / "models" / "whisper-tiny.partial" / "model.bin"
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size == 4_000_000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "is being pulled already" in refusal("tiny", tmp_path, hub.url)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    pull("tiny", tmp_path, endpoint=hub.url)
    assert hub.ranges_of("model.bin") == [None, "bytes=4000000-"]
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


def leave_partial(tmp_path: Path, content: bytes, commit: str = COMMIT) -> None:
    partial = tmp_path / "models" / "whisper-tiny.partial"
    partial.mkdir(parents=True)
    (partial / "model.bin").write_bytes(content)
    mark = {"repository": "Systran/faster-whisper-tiny", "commit": commit}
    (partial / "pull.json").write_text(json.dumps(mark))


def test_what_is_left_of_another_revision_is_not_mixed_in(hub: Hub, tmp_path: Path) -> None:
    leave_partial(tmp_path, b"old" * 1000, "e" * 40)
    pull("tiny", tmp_path, endpoint=hub.url)
    assert hub.ranges_of("model.bin") == [None]
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


def test_a_hub_without_ranges_sends_the_file_again(hub: Hub, tmp_path: Path) -> None:
    leave_partial(tmp_path, b"x" * 1000)
    hub.ranges = False
    pull("tiny", tmp_path, endpoint=hub.url)
    assert hub.ranges_of("model.bin") == ["bytes=1000-"]
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


def test_damage_is_found_and_the_next_pull_mends_it(hub: Hub, tmp_path: Path) -> None:
    leave_partial(tmp_path, b"x" * 1000)
    message = refusal("tiny", tmp_path, hub.url)
    assert message == "model.bin arrived damaged; pull again to fetch that file anew."
    hub.asked.clear()
    pull("tiny", tmp_path, endpoint=hub.url)
    assert hub.asked == [("model.bin", None)]
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


def test_a_small_file_is_verified_too(hub: Hub, tmp_path: Path) -> None:
    leave_partial(tmp_path, hub.files["model.bin"])
    config = tmp_path / "models" / "whisper-tiny.partial" / "config.json"
    config.write_bytes(b" " * len(hub.files["config.json"]))
    assert refusal("tiny", tmp_path, hub.url).startswith("config.json arrived damaged")


def test_a_file_of_another_size_than_announced_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lie = b"short"
    assert "sent model.bin of another size" in refusal("tiny", tmp_path, hub.url)


def test_a_redirect_to_another_host_does_not_carry_the_token(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    hub.cdn = hub.url.replace("127.0.0.1", "localhost")
    pull("tiny", tmp_path, endpoint=hub.url, token="hf_secret")
    assert hub.tokens_at_cdn == [None]
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


def test_the_endpoint_and_token_come_from_the_environment(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull("tiny", tmp_path)
    check_installed(tmp_path / "models" / "whisper-tiny", hub)


def test_an_unknown_name_gets_the_nearest_and_all_known_ones(tmp_path: Path) -> None:
    message = refusal("larg-v3", tmp_path, "http://127.0.0.1:9")
    assert "There is no model 'larg-v3' to pull; did you mean 'large-v3'?" in message
    assert "turbo" in message
    assert "no model '../../etc' to pull" in refusal("../../etc", tmp_path, "http://127.0.0.1:9")
    assert "no model 'a/../b' to pull" in refusal("a/../b", tmp_path, "http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_said_in_a_sentence(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refusal("tiny", tmp_path, "http://127.0.0.1:9")
    assert message.startswith("http://127.0.0.1:9 cannot be reached (")
    assert "cannot be reached" in refusal("tiny", tmp_path, "nonsense")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal("tiny", tmp_path, hub.url) == (
        "Nothing can be pulled while HF_HUB_OFFLINE is set."
    )


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "RepoNotFound", "has no model 'a/b', or it is private; if it is, set HF_TOKEN."),
        (401, "", "has no model 'a/b', or it is private; if it is, set HF_TOKEN."),
        (403, "GatedRepo", "'a/b' is gated: accept its terms at "),
        (401, "GatedRepo", "'a/b' is gated: accept its terms at "),
        (403, "", "refuses access to 'a/b'; check HF_TOKEN."),
        (404, "RevisionNotFound", "'a/b' has no such revision."),
        (500, "", "answered 500 for 'a/b'; try again later."),
    ],
)
def test_a_refusal_of_the_hub_is_a_sentence(
    hub: Hub, tmp_path: Path, status: int, code: str, expected: str
) -> None:
    hub.refuse = (status, code)
    assert expected in refusal("a/b", tmp_path, hub.url)


def test_a_page_that_is_not_the_hub_is_recognised(hub: Hub, tmp_path: Path) -> None:
    hub.page = b"<html>Please log in to the hotel network</html>"
    assert "does not answer like the Hugging Face Hub" in refusal("tiny", tmp_path, hub.url)


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", "config.json", "vocabulary.json"])
def test_a_repository_that_is_no_whisper_model_is_refused_before_any_download(
    hub: Hub, tmp_path: Path, name: str
) -> None:
    del hub.files[name]
    message = refusal("tiny", tmp_path, hub.url)
    assert message == (
        f"'Systran/faster-whisper-tiny' is not a CTranslate2 Whisper model: it has no {name}."
    )
    assert hub.asked == []


def test_a_repository_that_holds_no_model_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.repository, hub.files = "a/b", {"model.safetensors": b"x", "mmproj.gguf": b"x"}
    assert refusal("a/b", tmp_path, hub.url) == (
        "'a/b' holds neither a CTranslate2 Whisper model (it has no model.bin) nor a Piper "
        "voice nor GGUF files; those are often in a repository called like it, with -GGUF at the "
        "end."
    )


def test_an_empty_model_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files["model.bin"] = b""
    assert refusal("tiny", tmp_path, hub.url).endswith("has an empty model.bin.")
    assert Catalogue(tmp_path).records() == Catalogue(tmp_path / "nothing").records()


def test_a_full_disk_is_said_before_the_download(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 5_000_000))
    message = refusal("tiny", tmp_path, hub.url)
    assert message.startswith("'whisper-tiny' needs 73 MB more on the disk, but ")
    assert message.endswith("has only 5 MB free.")
    assert hub.asked == []


def test_a_directory_that_cannot_be_written_is_a_sentence(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file in the way")
    assert "cannot be written" in refusal("tiny", tmp_path, hub.url)


def gguf_repository(hub: Hub, *names: str, repository: str = "someone/Model-GGUF") -> None:
    """Make the hub's repository one of GGUF files, each with its own name in it."""
    hub.repository = repository
    hub.files = {name: gguf_bytes({"general.name": name}) for name in names}
    hub.files["README.md"] = b"not wanted"


@pytest.mark.parametrize("asked", ["qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF", "qwen3-0.6b:q8_0"])
def test_a_language_model_is_pulled_by_its_short_name(hub: Hub, tmp_path: Path, asked: str) -> None:
    name = "Qwen3-0.6B-Q8_0.gguf"
    gguf_repository(hub, name, "Qwen3-0.6B-Q4_K_M.gguf", repository="Qwen/Qwen3-0.6B-GGUF")
    seen: list[Progress] = []
    record = pull(asked, tmp_path, endpoint=hub.url, progress=seen.append)
    directory = tmp_path / "models" / "qwen3-0.6b"
    assert record.name == "qwen3-0.6b"
    assert record.engine == "llama"
    assert record.aliases == ("Qwen/Qwen3-0.6B-GGUF",)
    assert record.source == str(directory / name)
    assert (directory / name).read_bytes() == hub.files[name]
    assert [file for file, _ in hub.asked] == [name]
    assert seen[-1] == Progress("qwen3-0.6b", name, len(hub.files[name]), len(hub.files[name]))
    installed = read_installed(directory)
    assert (installed.kind, installed.file, installed.revision) == ("chat", name, COMMIT)
    models = Catalogue(tmp_path)
    assert models.resolve("qwen3-0.6b") == record
    assert models.default_language() == record
    hub.asked.clear()
    assert pull(asked, tmp_path, endpoint=hub.url) == record
    assert hub.asked == []


@pytest.mark.parametrize(
    ("names", "asked", "chosen", "installed_as"),
    [
        ("m-Q8_0 m-Q4_K_M m-F16", "", "m-Q4_K_M", ":Q4_K_M"),
        ("m-Q8_0 m-Q6_K", "", "m-Q8_0", ":Q8_0"),
        ("m.f16 mmproj-m-f32", "", "m.f16", ":F16"),
        ("m", "", "m", "/m.gguf"),
        ("m-Q8_0 m-Q4_K_M m-fp16", ":f16", "m-fp16", ":F16"),
        ("m-q4_k_m m-UD-Q4_K_XL", ":ud-q4_k_xl", "m-UD-Q4_K_XL", ":UD-Q4_K_XL"),
        ("m-Q4_K_M m-Q6_K", "/m-Q6_K.gguf", "m-Q6_K", ":Q6_K"),
        ("a-Q4_K_M b-Q4_K_M", "/b-Q4_K_M.gguf", "b-Q4_K_M", "/b-Q4_K_M.gguf"),
        ("Q4_K_M/m Q8_0/m", ":Q8_0", "Q8_0/m", ":Q8_0"),
    ],
)
def test_the_file_is_the_one_asked_for_or_the_usual_one(
    hub: Hub, tmp_path: Path, names: str, asked: str, chosen: str, installed_as: str
) -> None:
    gguf_repository(hub, *(f"{name}.gguf" for name in names.split()))
    record = pull(f"someone/Model-GGUF{asked}", tmp_path, endpoint=hub.url)
    assert hub.asked == [(f"{chosen}.gguf", None)]
    assert record.name == f"someone/Model-GGUF{installed_as}"
    assert Path(record.source or "").read_bytes() == hub.files[f"{chosen}.gguf"]
    assert record.aliases == (() if asked else ("someone/Model-GGUF",))
    assert Catalogue(tmp_path).resolve(record.name) == record


def test_two_quantisations_of_a_model_are_two_models(hub: Hub, tmp_path: Path) -> None:
    gguf_repository(hub, "m-Q4_K_M.gguf", "m-Q8_0.gguf")
    for asked in ("someone/Model-GGUF:Q8_0", "someone/Model-GGUF"):
        pull(asked, tmp_path, endpoint=hub.url)
    models = Catalogue(tmp_path)
    assert models.resolve("someone/Model-GGUF").name == "someone/Model-GGUF:Q4_K_M"
    assert models.resolve("someone/Model-GGUF:Q8_0").name == "someone/Model-GGUF:Q8_0"
    hub.asked.clear()
    pull("someone/Model-GGUF:q4_k_m", tmp_path, endpoint=hub.url)
    assert hub.asked == []


def test_every_part_of_a_split_model_is_pulled(hub: Hub, tmp_path: Path) -> None:
    parts = tuple(f"big/m-Q4_K_M-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    gguf_repository(hub, *parts, "m-Q8_0-00002-of-00002.gguf")
    for name in parts:
        hub.files[name] = gguf_bytes({"split.count": 3})
    seen: list[Progress] = []
    record = pull("someone/Model-GGUF", tmp_path, endpoint=hub.url, progress=seen.append)
    assert [file for file, _ in hub.asked] == list(parts)
    directory = tmp_path / "models" / "someone--Model-GGUF@Q4_K_M"
    assert record.source == str(directory / "m-Q4_K_M-00001-of-00003.gguf")
    assert len(list(directory.glob("*.gguf"))) == 3
    assert seen[-1].done == seen[-1].total == sum(len(hub.files[name]) for name in parts)
    assert Catalogue(tmp_path).problems() == []


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (
            "m-Q8_0 m-Q4_K_M a-F16 b-F16",
            ":Q5_K_M",
            "has no Q5_K_M; pull one of: someone/Model-GGUF/a-F16.gguf, someone/Model-GGUF/"
            "b-F16.gguf, someone/Model-GGUF:Q4_K_M, someone/Model-GGUF:Q8_0.",
        ),
        (
            "m-Q6_K m-F16",
            "",
            "has no Q4_K_M or Q8_0; pull one of: someone/Model-GGUF:F16, someone/Model-GGUF:Q6_K.",
        ),
        (
            "a-Q4_K_M b-Q4_K_M",
            "",
            "has several Q4_K_M files; pull one: someone/Model-GGUF/a-Q4_K_M.gguf, "
            "someone/Model-GGUF/b-Q4_K_M.gguf.",
        ),
        ("m-Q8_0", "/other.gguf", "has no other.gguf; pull one of: someone/Model-GGUF:Q8_0."),
        ("mmproj-m", ":Q8_0", "has no Q8_0; it holds no GGUF file."),
    ],
)
def test_a_file_that_is_not_there_is_answered_with_those_that_are(
    hub: Hub, tmp_path: Path, names: str, asked: str, expected: str
) -> None:
    gguf_repository(hub, *(f"{name}.gguf" for name in names.split()))
    message = refusal(f"someone/Model-GGUF{asked}", tmp_path, hub.url)
    assert message == f"'someone/Model-GGUF' {expected}"
    assert hub.asked == []


def test_an_embedding_model_is_recorded_as_one(hub: Hub, tmp_path: Path) -> None:
    gguf_repository(hub, "v-Q8_0.gguf")
    hub.files["v-Q8_0.gguf"] = gguf_bytes(MEAN, architecture="bert")
    record = pull("someone/Model-GGUF", tmp_path, endpoint=hub.url)
    assert Catalogue(tmp_path).kind(record) == "embedding"


def test_a_known_model_whose_file_was_renamed_is_pulled_all_the_same(
    hub: Hub, tmp_path: Path
) -> None:
    gguf_repository(hub, "renamed-Q4_K_M.gguf", repository="Qwen/Qwen3-0.6B-GGUF")
    record = pull("qwen3-0.6b", tmp_path, endpoint=hub.url)
    assert (record.name, hub.asked) == ("qwen3-0.6b", [("renamed-Q4_K_M.gguf", None)])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "m-Q8_0.gguf is not a GGUF file"),
        (
            gguf_bytes({"general.type": "adapter"}),
            "m-Q8_0.gguf is not a language model, but of the type 'adapter'",
        ),
    ],
)
def test_what_is_no_language_model_is_refused_and_not_kept(
    hub: Hub, tmp_path: Path, content: bytes, reason: str
) -> None:
    gguf_repository(hub, "m-Q8_0.gguf")
    hub.files["m-Q8_0.gguf"] = content
    message = refusal("someone/Model-GGUF", tmp_path, hub.url)
    assert message == f"'someone/Model-GGUF:Q8_0' cannot be used: {reason}."
    assert [path.name for path in (tmp_path / "models").iterdir() if path.is_dir()] == []


def test_a_broken_download_of_a_language_model_goes_on_where_it_stopped(
    hub: Hub, tmp_path: Path
) -> None:
    name = "folder/m-Q8_0.gguf"
    gguf_repository(hub, name)
    hub.files[name] += b"\0" * 3_000_000
    hub.main, hub.cut_at = name, 2_000_000
    pull("someone/Model-GGUF", tmp_path, endpoint=hub.url)
    whole, rest = hub.ranges_of(name)
    assert whole is None
    assert rest is not None
    assert 0 < int(rest.removeprefix("bytes=").removesuffix("-")) <= 2_000_000
    directory = tmp_path / "models" / "someone--Model-GGUF@Q8_0"
    assert (directory / "m-Q8_0.gguf").read_bytes() == hub.files[name]


@pytest.mark.parametrize("name", ["a/b/../c.gguf", "a/b/c\\d.gguf", "a/b/c.bin", "a/b:c:d"])
def test_a_file_that_can_be_no_model_is_not_asked_for(tmp_path: Path, name: str) -> None:
    assert f"no model '{name}' to pull" in refusal(name, tmp_path, "http://127.0.0.1:9")


def test_a_repository_cannot_place_files_elsewhere(hub: Hub, tmp_path: Path) -> None:
    gguf_repository(hub, "../../evil-Q4_K_M.gguf", "a\\b-Q4_K_M.gguf", "good-Q8_0.gguf")
    pull("someone/Model-GGUF", tmp_path, endpoint=hub.url)
    assert hub.asked == [("good-Q8_0.gguf", None)]


def voice_files(*paths: str) -> dict[str, bytes]:
    """Piper voices, as a repository holds them."""
    files = {"README.md": b"not wanted"}
    for path in paths:
        files[f"{path}.onnx"] = network()
        files[f"{path}.onnx.json"] = json.dumps(description()).encode()
    return files


LESSAC = "en/en_US/lessac/medium/en_US-lessac-medium"


@pytest.mark.parametrize("asked", ["en_US-lessac-medium", "lessac"])
def test_an_official_voice_is_pulled_by_its_name(hub: Hub, tmp_path: Path, asked: str) -> None:
    hub.repository = "rhasspy/piper-voices"
    hub.files = voice_files(LESSAC, "de/de_DE/thorsten/low/de_DE-thorsten-low")
    record = pull(asked, tmp_path, endpoint=hub.url)
    assert [file for file, _ in hub.asked] == [f"{LESSAC}.onnx", f"{LESSAC}.onnx.json"]
    directory = tmp_path / "models" / "en_US-lessac-medium"
    assert record.source == str(directory / "en_US-lessac-medium.onnx")
    assert (record.name, record.engine) == ("en_US-lessac-medium", "piper")
    models = Catalogue(tmp_path)
    assert models.kind(record) == "speech"
    assert models.default_speech() == models.resolve_speech("lessac") == record
    hub.asked.clear()
    other = pull("de_DE-thorsten-low", tmp_path, endpoint=hub.url)  # not among those shown
    assert (other.name, other.aliases) == ("de_DE-thorsten-low", ())
    assert Catalogue(tmp_path).default_speech().name == "de_DE-thorsten-low"
    configured = ModelRecord(name="x", engine="piper", source="en_US-lessac-medium")
    assert Catalogue(tmp_path, [configured]).resolve("x").source == record.source


def test_a_repository_with_one_voice_is_pulled_by_its_name(hub: Hub, tmp_path: Path) -> None:
    hub.repository = "someone/my-voice"
    hub.files = voice_files("de_DE-mia-high")
    record = pull("someone/my-voice", tmp_path, endpoint=hub.url)
    assert record.name == "someone/my-voice"
    assert record.aliases == ("de_DE-mia-high",)
    assert Catalogue(tmp_path).resolve_speech("de_DE-mia-high") == record
    configured = ModelRecord(name="x", engine="piper", source="someone/my-voice")
    assert Catalogue(tmp_path, [configured]).resolve("x").source == record.source


def test_one_of_several_voices_is_asked_for_by_its_file(hub: Hub, tmp_path: Path) -> None:
    hub.repository = "someone/voices"
    hub.files = voice_files("a/one", "two") | {"alone.onnx": b"x"}
    message = refusal("someone/voices", tmp_path, hub.url)
    assert message.endswith(
        "has several voices; pull one of: someone/voices/a/one.onnx, someone/voices/two.onnx."
    )
    message = refusal("someone/voices/alone.onnx", tmp_path, hub.url)
    assert message.startswith("'someone/voices' has no alone.onnx; pull one of: ")
    record = pull("someone/voices/a/one.onnx", tmp_path, endpoint=hub.url)
    assert (record.name, record.aliases) == ("someone/voices/a/one.onnx", ("one",))
    assert Catalogue(tmp_path).problems() == []


def test_a_voice_that_cannot_be_used_leaves_nothing_behind(hub: Hub, tmp_path: Path) -> None:
    hub.repository = "someone/my-voice"
    hub.files = voice_files("v") | {"v.onnx.json": b'{"audio": {}}'}
    message = refusal("someone/my-voice", tmp_path, hub.url)
    assert message.startswith("'someone/my-voice' cannot be used: v.onnx.json does not describe")
    assert not list((tmp_path / "models").glob("*.partial"))


def test_a_voice_without_its_description_is_not_used(hub: Hub, tmp_path: Path) -> None:
    hub.repository = "someone/my-voice"
    hub.files = voice_files("v")
    record = pull("someone/my-voice", tmp_path, endpoint=hub.url)
    Path(f"{record.source}.json").unlink()
    (problem,) = Catalogue(tmp_path).problems()
    assert "lacks v.onnx.json" in problem
