import pickle
from email.utils import formatdate
from time import time
from typing import Any

import orjson
import pytest

from engines.base import Busy, EngineError, InvalidInput, ModelNotFound, ProviderError
from engines.cloud_errors import LONGEST_RETRY, NoSuchRemoteModel, Refusal, refused, seconds
from engines.endpoints import Endpoint
from engines.generation import ContextLengthExceeded

FAR = Endpoint("far", "http://127.0.0.1/v1", "sk-1234567890abcdef")


def told(body: Any, status: int = 400) -> EngineError:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return refused(FAR, "big", Refusal(status, content))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "It is wrong", "type": "x", "code": None, "param": None}},
        {"error": "It is wrong."},
        {"object": "error", "message": "It is wrong", "code": 400},
        {"detail": "It is wrong"},
        {"detail": [{"loc": ["body"], "msg": "It is wrong", "type": "x"}]},
        [{"error": {"code": 400, "message": "It is\n wrong", "status": "INVALID"}}],
        b"It is wrong",
    ],
)
def test_the_reason_is_found_in_every_shape(body: Any) -> None:
    assert str(told(body)) == "The provider 'far' refused the request: It is wrong."


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad</html>", b"{cut", b"null", {}, {"error": {}}, {"error": 5}, []]
)
def test_where_there_is_no_reason_that_is_said(body: Any) -> None:
    assert str(told(body)) == "The provider 'far' refused the request: it gave no reason."


def test_the_field_is_found_in_both_shapes() -> None:
    ours = told({"error": {"message": "No", "param": "stop"}})
    pydantics = told({"detail": [{"loc": ["body", "stop"], "msg": "No"}]}, 422)
    for error in (ours, pydantics):
        assert isinstance(error, InvalidInput)
        assert error.param == "stop"


def test_a_prompt_that_is_too_long_is_known_by_its_code_or_its_words() -> None:
    coded = {"error": {"message": "Too long", "code": "context_length_exceeded"}}
    worded = {"message": "This model's maximum context length is 4096 tokens."}
    assert isinstance(told(coded), ContextLengthExceeded)
    assert isinstance(told(worded), ContextLengthExceeded)


def test_a_message_is_short_and_without_the_key() -> None:
    message = str(told({"error": f"{FAR.api_key} " + "x" * 5000}))
    assert message.startswith("The provider 'far' refused the request: *** xxx")
    assert len(message) < 1100


def test_a_model_that_is_not_there_survives_being_sent_between_processes() -> None:
    error = told({"error": "model 'big' not found, try pulling it first"}, 404)
    assert isinstance(error, ModelNotFound)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, NoSuchRemoteModel)
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (413, InvalidInput),
        (429, Busy),
        (404, ProviderError),
        (302, ProviderError),
        (529, ProviderError),
    ],
)
def test_a_status_has_its_meaning_without_a_reason(status: int, kind: type[EngineError]) -> None:
    assert isinstance(told(b"", status), kind)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, 1.0),
        ("", 1.0),
        ("17", 17.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", 1.0),
        ("inf", LONGEST_RETRY),
        ("99999999", LONGEST_RETRY),
        ("soon", 1.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_a_retry_after_is_seconds_within_reason(header: str | None, wait: float) -> None:
    assert seconds(header) == wait


def test_a_retry_after_may_be_a_date() -> None:
    assert seconds(formatdate(time() + 100, usegmt=True)) == pytest.approx(100, abs=3)
