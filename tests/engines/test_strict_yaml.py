import copy
import pickle
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from engines.strict_yaml import ConfigError, Document, load, nearest, read, unknown_name, validate


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Server(Strict):
    host: str = "127.0.0.1"
    port: int = Field(default=8800, ge=0, le=65535)
    level: Literal["debug", "info"] = "info"
    insecure: bool = False

    @field_validator("host")
    @classmethod
    def has_no_space(cls, host: str) -> str:
        if " " in host:
            raise ValueError("has a space in it")
        return host


class Model(Strict):
    name: str
    origin: str = Field(default="", alias="from")


class Root(Strict):
    server: Server = Server()
    models: tuple[Model, ...] = ()
    extra: dict[str, Server] = {}
    maybe: Server | None = None


def refusal(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(Root, read(text, "antiphon.yaml", environ))
    message = str(caught.value)
    assert "\n" not in message
    return message


def value(text: str) -> Any:
    return read(f"key: {text}", "f.yaml").value["key"]


def test_a_misspelled_key_is_named_with_its_line_and_the_nearest_valid_one() -> None:
    message = refusal("# first\nserver:\n  host: localhost\n  prot: 80\n")
    assert message == "antiphon.yaml:4: unknown key 'prot' in 'server'; did you mean 'port'?"


def test_a_key_like_no_other_gets_the_list_of_valid_ones() -> None:
    message = refusal("server:\n  zzz: 1\n")
    assert message == (
        "antiphon.yaml:2: unknown key 'zzz' in 'server'; valid: host, insecure, level, port"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("servre: {}", "1: unknown key 'servre'; did you mean 'server'?"),
        (
            "models:\n- name: a\n- nmae: b",
            "3: unknown key 'nmae' in 'models[1]'; did you mean 'name'",
        ),
        (
            "models:\n- name: a\n  form: b",
            "3: unknown key 'form' in 'models[0]'; did you mean 'from'",
        ),
        ("extra:\n  one:\n    prt: 1", "3: unknown key 'prt' in 'extra.one'; did you mean 'port'?"),
        ("maybe:\n\n  hots: x", "3: unknown key 'hots' in 'maybe'; did you mean 'host'?"),
        ("models:\n- from: b", "2: 'models[0]' needs the key 'name'"),
        ("server:\n  port: no", "2: 'server.port' should be a valid integer, unable to parse"),
        ("server:\n  port: 70000", "2: 'server.port' should be less than or equal to 65535"),
        ("server:\n  level: inof", "2: 'server.level' should be 'debug' or 'info'"),
        ("server:\n  host: a b", "2: 'server.host' has a space in it"),
        ("server: 3", "1: 'server' should be a list of 'key: value' lines"),
        ("models: 3", "1: 'models' should be a list"),
        ("models:\n- 3", "2: 'models[0]' should be a list of 'key: value' lines"),
        ("- a\n- b", "1: this should be a list of 'key: value' lines"),
        ("server:\n  port: 1\n  port: 2", "3: the key 'port' was already used at line 2"),
        ("a: {", "1: "),
        ("server:\n\t- x", "2: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2", "2: but found another document"),
        ("a: !!python/object:os.system x", "1: tags are not allowed"),
        ("a: !x [1]", "1: tags are not allowed"),
        ("a: 1\n3: x", "2: a key must be text: write '3' in quotes"),
        ("? [a]\n: 1", "1: a key must be text"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "3: merge keys ('<<') are not supported"),
        ("a: &x [*x]", "1: an alias inside the value that it repeats"),
        ("a: *x", "1: found undefined alias"),
        ("a: 1\nb: \x01", "2: a character that YAML does not allow"),
        ("a: " + "9" * 5000, "1: a number with too many digits"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_line(text: str, message: str) -> None:
    assert refusal(text).startswith(f"antiphon.yaml:{message}")


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    assert refusal("a: " + "[" * 100_000) == "antiphon.yaml:1: nested too deeply"


def test_aliases_cannot_multiply_into_a_bomb() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "more than 100000 values" in refusal("\n".join(lines))


def test_an_alias_repeats_a_value() -> None:
    assert read("a: &x {b: [1]}\nc: *x", "f").value == {"a": {"b": [1]}, "c": {"b": [1]}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-3", -3),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("'3'", "3"),
        ("1.2.3.4", "1.2.3.4"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert read("", "f").value == {}
    assert read("# nothing\n", "f").value == {}
    assert read("---\n", "f").value == {}
    assert validate(Root, read("", "f")) == Root()


def test_line_of_finds_keys_items_and_what_is_around_a_missing_value() -> None:
    document = read("a:\n  b:\n    - x\n    - y: 1\n\nc: 2\n", "f")
    assert document.line_of(("a",)) == 1
    assert document.line_of(("a", "b")) == 2
    assert document.line_of(("a", "b", 0)) == 3
    assert document.line_of(("a", "b", 1, "y")) == 4
    assert document.line_of(("a", "b", 7, "z")) == 2
    assert document.line_of(("c",)) == 6
    assert document.line_of(("nothing",)) == 1


def test_environment_variables_are_filled_in() -> None:
    text = "server:\n  host: ${HOST}\n  port: ${PORT:-9000}\n"
    document = read(text, "f", {"HOST": "a.example"})
    assert validate(Root, document).server == Server(host="a.example", port=9000)
    assert validate(Root, read(text, "f", {"HOST": "h", "PORT": "1"})).server.port == 1
    assert read("a: x-${A}-${B:-}-y", "f", {"A": "1"}).value == {"a": "x-1--y"}
    assert read("a: ${A:-two}", "f", {"A": ""}).value == {"a": "two"}


def test_a_dollar_can_be_kept() -> None:
    assert read("a: $${HOME} $5 ${H}", "f", {"H": "${X}"}).value == {"a": "${HOME} $5 ${X}"}
    assert read("a: ${HOME}", "f").value == {"a": "${HOME}"}


def test_a_missing_environment_variable_is_named_with_its_line() -> None:
    text = "server:\n  host: ${HOTS}\n"
    message = "antiphon.yaml:2: the environment variable HOTS is not set"
    assert refusal(text, {"HOST": "x"}) == message
    assert "'${A B}' is not of the form ${NAME}" in refusal("a: ${A B}", {})


def test_a_part_of_a_document_can_be_validated() -> None:
    document = read("x:\n  - port: 1\n  - port: y\n", "f")
    assert validate(Server, document, ("x", 0)).port == 1
    with pytest.raises(ConfigError, match=r"^f:3: 'x\[1\]\.port' should be a valid integer"):
        validate(Server, document, ("x", 1))
    assert validate(Server, document, ("absent",)) == Server()


def test_an_overlaid_value_wins_and_its_error_names_its_origin() -> None:
    document = read("server:\n  port: 1\n  host: a\n", "f")
    over = document.overlaid(("server", "port"), "x", "ANTIPHON_SERVER_PORT")
    assert document.value["server"]["port"] == 1
    with pytest.raises(ConfigError) as caught:
        validate(Root, over)
    assert str(caught.value).startswith("ANTIPHON_SERVER_PORT: 'server.port' should be")
    fine = over.overlaid(("server", "port"), "5", "--port")
    assert validate(Root, fine).server == Server(host="a", port=5)
    assert str(fine.error(("server", "host"), "no")) == "f:3: no"


def test_an_error_about_nothing_that_was_written_names_no_file() -> None:
    assert str(Document("f", {}).error(("server",), "no")) == "no"


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeffa: ü\n".encode())
    assert load(path, {}).value == {"a": "ü"}
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"^a\.yaml:2: this is not UTF-8 text$"):
        load(path, {}, "a.yaml")
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="is larger than 1 MiB"):
        load(path, {})
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: no such file"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path, {})


def test_the_nearest_name_ignores_case_and_gives_up_on_the_unlike() -> None:
    assert nearest("Whispr", ["pocketsphinx", "whisper"]) == "whisper"
    assert nearest("PORT", ["host", "port"]) == "port"
    assert nearest("qqq", ["host", "port"]) is None
    assert unknown_name("engine", "whispr", ["whisper"]) == (
        "unknown engine 'whispr'; did you mean 'whisper'?"
    )
    assert unknown_name("node", "x", []) == "unknown node 'x'"


def test_the_error_can_be_sent_between_processes() -> None:
    error = ConfigError("f", 3, "no")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(twin), twin.file, twin.line, twin.message) == ("f:3: no", "f", 3, "no")
