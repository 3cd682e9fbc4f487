import os
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import gguf
import pytest
from gguf_headers import gguf_bytes, write_gguf
from hypothesis import given
from hypothesis import strategies as st

from engines import gguf_files
from engines.base import EngineError
from engines.gguf_files import (
    GgufMetadata,
    find_gguf,
    is_model_name,
    kind_of,
    part_names,
    read_language_model,
    read_metadata,
)

WHOLE = gguf_bytes(
    {
        "general.name": "Small",
        "general.size_label": "12",
        "qwen3.context_length": 40960,
        "qwen3.rope.freq_base": 1e6,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.tokens": ["a", "bc", ""] * 50,
        "tokenizer.ggml.token_type": [1, 2, 3] * 50,
        "tokenizer.chat_template": "{{ messages }}" * 1000,
        "general.file_type": 15,
    },
    architecture="qwen3",
)
SIZE_OF_DATA = 64
"""The bytes of the one tensor, padded."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "model.gguf"


def text(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content


def header(*values: bytes, tensors: int = 0, version: int = 3, count: int | None = None) -> bytes:
    """The beginning of a file, with values that are written out already."""
    many = len(values) if count is None else count
    return b"GGUF" + struct.pack("<IQQ", version, tensors, many) + b"".join(values)


ARCHITECTURE = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        read_metadata(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    return message.removeprefix(f"{path} ")


def test_a_header_says_what_the_model_is(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    path.write_bytes(WHOLE)
    assert read_metadata(path) == GgufMetadata(
        architecture="qwen3",
        name="Small",
        context_length=40960,
        size_label="12",
        parameters=12,
        quantisation="Q4_K_M",
        chat_template=True,
    )


def test_a_header_that_says_little_is_enough(tmp_path: Path) -> None:
    assert read_metadata(write_gguf(tmp_path / "a.gguf")) == GgufMetadata("llama", parameters=12)


@pytest.mark.parametrize("name", ["none", "mean", "cls", "last", "rank"])
def test_pooling_is_told_by_name(tmp_path: Path, name: str) -> None:
    pooling = int(gguf.PoolingType[name.upper()])
    path = write_gguf(tmp_path / "a.gguf", {"qwen3.pooling_type": pooling}, architecture="qwen3")
    assert read_metadata(path).pooling == name


@pytest.mark.parametrize(
    "file_type", [one for one in gguf.LlamaFileType if one is not gguf.LlamaFileType.GUESSED]
)
def test_each_file_type_has_its_usual_name(file: Path, file_type: gguf.LlamaFileType) -> None:
    write_gguf(file, {"general.file_type": int(file_type)})
    usual = file_type.name.removeprefix("MOSTLY_").removeprefix("ALL_").removesuffix("_MOE")
    assert read_metadata(file).quantisation == usual


def test_a_file_type_that_nobody_knows_is_left_out(file: Path) -> None:
    assert read_metadata(write_gguf(file, {"general.file_type": 1024})).quantisation is None


@pytest.mark.parametrize(
    ("architecture", "pooling", "classifier", "kind"),
    [
        ("llama", None, False, "chat"),
        ("qwen3", "none", False, "chat"),
        ("qwen3", "last", False, "embedding"),
        ("bert", None, False, "embedding"),
        ("nomic-bert-moe", "mean", False, "embedding"),
        ("bert", "none", False, "embedding"),
        ("gemma-embedding", None, False, "embedding"),
        ("bert", "rank", False, "rerank"),
        ("qwen3", "rank", True, "rerank"),
        ("bert", None, True, "rerank"),
    ],
)
def test_what_a_model_is_for_follows_from_its_header(
    architecture: str, pooling: str | None, classifier: bool, kind: str
) -> None:
    described = GgufMetadata(architecture, pooling=pooling, classifier=classifier)
    assert kind_of(described) == kind


def test_a_scoring_head_is_found_among_the_tensors(tmp_path: Path) -> None:
    names = ("token_embd.weight", "cls.weight", "cls.output.weight")
    path = write_gguf(tmp_path / "a.gguf", architecture="bert", tensors=names)
    metadata = read_metadata(path)
    assert metadata.classifier
    assert metadata.parameters == 36
    assert kind_of(metadata) == "rerank"


@pytest.mark.parametrize("content", [b"", b"GG", b"GGML" + b"\0" * 100, b"version https://git-lfs"])
def test_what_is_no_gguf_file_is_said_to_be_none(file: Path, content: bytes) -> None:
    assert refused(file, content) == "is not a GGUF file"


def test_what_is_not_there_or_no_file_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"gone\.gguf does not exist$"):
        read_metadata(tmp_path / "gone.gguf")
    with pytest.raises(EngineError, match=r"is no file$"):
        read_metadata(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(EngineError, match=r"is no file$"):
        read_metadata(tmp_path / "pipe.gguf")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header(ARCHITECTURE, version=1), "is of GGUF version 1"),
        (header(ARCHITECTURE, version=4), "is of GGUF version 4"),
        (header(ARCHITECTURE, version=3 << 24), "is big-endian"),
        (header(ARCHITECTURE, count=1 << 62), "has a damaged header"),
        (header(ARCHITECTURE, tensors=1 << 62), "has a damaged header"),
        (header(text(b"", 1 << 60)), "has a damaged header"),
        (header(text(b"a") + struct.pack("<I", 13)), "has a damaged header"),
        (header(text(b"a") + struct.pack("<IIQ", 9, 9, 1)), "has a damaged header"),
        (header(ARCHITECTURE, text(b"a") + struct.pack("<IIQ", 9, 4, 1 << 62)), "ends in the "),
        (header(ARCHITECTURE, text(b"a") + struct.pack("<I", 8) + text(b"", 1 << 62)), "ends in "),
        (header(ARCHITECTURE, tensors=1) + text(b"t") + b"\xff" * 4, "has a damaged header"),
        (header(text(b"a") + struct.pack("<I", 8) + text(b"b")), "does not name its architecture"),
    ],
)
def test_a_header_that_cannot_be_is_refused(file: Path, content: bytes, reason: str) -> None:
    assert refused(file, content).startswith(reason)


def test_version_2_is_read_as_version_3_is(file: Path) -> None:
    file.write_bytes(WHOLE[:4] + struct.pack("<I", 2) + WHOLE[8:])
    assert read_metadata(file).name == "Small"


@given(st.integers(0, len(WHOLE) - SIZE_OF_DATA - 1 - 32))
def test_a_file_cut_anywhere_in_its_header_is_refused(file: Path, length: int) -> None:
    reason = refused(file, WHOLE[:length])
    assert reason in ("ends in the middle of its header", "is not a GGUF file")


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(file: Path, content: bytes) -> None:
    refused(file, content)
    refused(file, b"GGUF" + content)


@given(st.data())
def test_a_damaged_header_is_read_or_refused(file: Path, data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, len(content) - 9))
        content[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    file.write_bytes(content)
    with suppress(EngineError):
        assert isinstance(read_metadata(file), GgufMetadata)


@given(
    st.lists(st.text(max_size=20), max_size=40), st.lists(st.integers(0, 2**31 - 1), max_size=40)
)
def test_what_stands_behind_arrays_is_found(file: Path, texts: list[str], ids: list[int]) -> None:
    arrays = {key: value for key, value in (("t", texts), ("i", ids)) if value}
    write_gguf(file, {**arrays, "llama.context_length": 77})
    assert read_metadata(file).context_length == 77


def test_a_vocabulary_is_not_held_in_memory(file: Path) -> None:
    tokens = b"".join(text(b"token%d" % n) for n in range(100_000))
    array = text(b"tokens") + struct.pack("<IIQ", 9, 8, 100_000) + tokens
    length = text(b"llama.context_length") + struct.pack("<II", 4, 512)
    file.write_bytes(header(ARCHITECTURE, array, length))
    tracemalloc.start()
    assert read_metadata(file).context_length == 512
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000 < len(tokens)


def test_a_header_without_an_end_is_left_soon(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_files, "_MOST_BYTES", 1 << 20)
    file.write_bytes(header(ARCHITECTURE, text(b"a") + struct.pack("<IIQ", 9, 8, 1 << 60)))
    os.truncate(file, 1 << 32)
    with pytest.raises(EngineError, match="has a header that is too long"):
        read_metadata(file)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("model.gguf", True),
        ("Q4_K_M/Model-00001-of-00002.GGUF", True),
        ("model.bin", False),
        ("mmproj-model-f16.gguf", False),
        ("folder/model-mmproj.gguf", False),
        ("imatrix_unsloth.gguf", False),
        ("model.imatrix.gguf", False),
        ("imatrix/model.gguf", True),
        ("model-imatrix-Q4_K_M.gguf", True),
    ],
)
def test_files_beside_a_model_are_not_taken_for_it(name: str, is_one: bool) -> None:
    assert is_model_name(name) is is_one


def test_the_parts_of_a_model_are_known_by_their_names() -> None:
    parts = tuple(f"a-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    assert {part_names(name) for name in parts} == {parts}
    for whole in ("a.gguf", "a-1-of-3.gguf", "a-00004-of-00003.gguf", "a-00000-of-00000.gguf"):
        assert part_names(whole) == (whole,)


def test_a_directory_means_the_one_model_in_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"holds no GGUF file$"):
        find_gguf(tmp_path)
    write_gguf(tmp_path / "mmproj-f16.gguf")
    first = write_gguf(tmp_path / "a-00001-of-00002.gguf")
    second = write_gguf(tmp_path / "a-00002-of-00002.gguf")
    for source in (tmp_path, first, second):
        assert find_gguf(source) == first
    write_gguf(tmp_path / "b.gguf")
    with pytest.raises(EngineError, match=r"several GGUF files, .*: a-00001-of-00002.gguf, b.gguf"):
        find_gguf(tmp_path)
    with pytest.raises(EngineError, match="does not exist"):
        find_gguf(tmp_path / "c.gguf")


def test_a_model_in_parts_needs_them_all(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "a-00001-of-00002.gguf", {"split.count": 2}, tensors=())
    with pytest.raises(EngineError, match=r"lacks a-00002-of-00002.gguf$"):
        read_language_model(first)
    write_gguf(tmp_path / "a-00002-of-00002.gguf", {"split.count": 2})
    metadata = read_language_model(first)
    assert (metadata.parts, metadata.parameters) == (2, None)
    with pytest.raises(EngineError, match=r"has 2 part\(s\), which its name does not say"):
        read_language_model(first.rename(tmp_path / "a.gguf"))


@pytest.mark.parametrize("kind", ["adapter", "mmproj", "imatrix"])
def test_what_belongs_to_a_model_is_not_one(tmp_path: Path, kind: str) -> None:
    path = write_gguf(tmp_path / "a.gguf", {"general.type": kind})
    with pytest.raises(EngineError, match=f"is not a language model, but of the type '{kind}'"):
        read_language_model(path)


def test_a_vocabulary_alone_is_no_model(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", {"tokenizer.ggml.tokens": ["a"]}, tensors=())
    with pytest.raises(EngineError, match="has no weights"):
        read_language_model(path)
