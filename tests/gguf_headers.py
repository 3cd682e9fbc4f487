"""GGUF files of a few hundred bytes: what a model says of itself, and one small tensor."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

Value = bool | int | float | str | Sequence[str] | Sequence[int]

RANK = {"bert.pooling_type": 4}
MEAN = {"bert.pooling_type": 1}


def gguf_bytes(
    values: Mapping[str, Value] | None = None,
    *,
    architecture: str = "llama",
    tensors: Sequence[str] = ("token_embd.weight",),
) -> bytes:
    """A file with these values, and tensors of 4 by 3 weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        for key, value in (values or {}).items():
            match value:
                case bool():
                    writer.add_bool(key, value)
                case int():
                    writer.add_uint32(key, value)
                case float():
                    writer.add_float32(key, value)
                case str():
                    writer.add_string(key, value)
                case _:
                    writer.add_array(key, list(value))
        for name in tensors:
            writer.add_tensor(name, np.zeros((4, 3), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def write_gguf(
    path: Path,
    values: Mapping[str, Value] | None = None,
    *,
    architecture: str = "llama",
    tensors: Sequence[str] = ("token_embd.weight",),
) -> Path:
    """As `gguf_bytes`, at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf_bytes(values, architecture=architecture, tensors=tensors))
    return path
