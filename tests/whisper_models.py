"""Whisper models made for tests."""

import json
import shutil
from pathlib import Path

from voice import WHISPER_NANO


def write_multilingual(directory: Path) -> Path:
    """A multilingual model, as far as one can be made of an English one: the tiny model's weights,
    its last timestamp tokens renamed."""
    shutil.copytree(WHISPER_NANO, directory)
    vocabulary = json.loads((WHISPER_NANO / "vocabulary.json").read_text())
    names = dict(zip(vocabulary[-4:], ["", "<|en|>", "<|fr|>", "<|yue|>"], strict=True))
    ids = [len(vocabulary) - 3 + n for n in range(3)]
    (directory / "vocabulary.json").write_text(json.dumps([names.get(t, t) for t in vocabulary]))
    tokenizer = json.loads((WHISPER_NANO / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["content"] = names.get(token["content"]) or token["content"]
    vocab = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {names.get(t) or t: n for t, n in vocab.items()}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((WHISPER_NANO / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "lang_ids": ids}))
    return directory
