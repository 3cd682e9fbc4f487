import pytest

from engines.repositories import Asked, asked_for, quantisation_of, variants


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("owner/name", Asked("owner/name")),
        ("owner/name:Q4_K_M", Asked("owner/name", "Q4_K_M")),
        ("owner/name:ud-iq2_m", Asked("owner/name", "UD-IQ2_M")),
        ("owner/name:fp16", Asked("owner/name", "F16")),
        ("owner/name/file.gguf", Asked("owner/name", file="file.gguf")),
        ("owner/name/in/file.gguf", Asked("owner/name", file="in/file.gguf")),
        (
            "o/n/f-00002-of-00002.gguf",
            Asked("o/n", file="f-00001-of-00002.gguf"),
        ),
        ("base", Asked("Systran/faster-whisper-base")),
        ("qwen3-0.6b", Asked("Qwen/Qwen3-0.6B-GGUF")),
        ("qwen3-0.6b:q4_k_m", Asked("Qwen/Qwen3-0.6B-GGUF", "Q4_K_M")),
    ],
)
def test_what_is_asked_of_the_hub_is_read_from_its_name(source: str, asked: Asked) -> None:
    assert asked_for(source) == asked


@pytest.mark.parametrize(
    "source",
    [
        "",
        "name",
        "name:Q8_0",
        "models/name.gguf",
        "/a/b",
        "./a/b",
        "../a/b.gguf",
        "a/b/../c.gguf",
        "a/b/c",
        "a/b/mmproj.gguf",
        "a/b:",
        "a/b:c/d.gguf",
        "a/b//c.gguf",
        "C:\\a\\b.gguf",
    ],
)
def test_what_is_not_of_the_hub_asks_nothing_of_it(source: str) -> None:
    assert asked_for(source) is None


@pytest.mark.parametrize(
    ("file", "quantisation"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"),
        ("qwen2.5-1.5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("nomic-embed-text-v1.5.f16.gguf", "F16"),
        ("qwen2.5-0.5b-instruct-fp16.gguf", "F16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Model-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("Model-IQ3_XXS-00001-of-00002.gguf", "IQ3_XXS"),
        ("Model-BF16.gguf", "BF16"),
        ("Q4_K_M/Model-00001-of-00002.gguf", "Q4_K_M"),
        ("Model-TQ1_0.gguf", "TQ1_0"),
        ("Model-Q4_0-then-Q8_0.gguf", "Q8_0"),
        ("Qwen3-4B.gguf", None),
        ("model.gguf", None),
    ],
)
def test_the_quantisation_is_read_from_the_name_of_the_file(
    file: str, quantisation: str | None
) -> None:
    assert quantisation_of(file) == quantisation


def test_a_model_of_which_a_part_is_missing_is_left_out() -> None:
    names = ["a-00001-of-00002.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "c.gguf"]
    found = [variant.files for variant in variants(names)]
    assert found == [("b-00001-of-00002.gguf", "b-00002-of-00002.gguf"), ("c.gguf",)]
