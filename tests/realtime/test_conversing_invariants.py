"""Whatever a client sends, in whatever order: a conversation session keeps its promises."""

import base64
from typing import Any

import orjson
from conversing import Talk
from hypothesis import HealthCheck
from hypothesis import settings as runs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from score import Call, Model
from wire_rules import broken_rules

from pipelines.frames import Answered, Respond
from realtime.events import parse

EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

texts = st.text(max_size=12)
ids = st.sampled_from(["a", "b", "item_4", "item_7", "item_9", "root", "nobody"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
models = st.builds(
    Model,
    texts,
    st.lists(st.just(Call("look", '{"at":1}')), max_size=2).map(tuple),
    st.sampled_from(["stop", "length", "failed", "never"]),
)
parts = st.one_of(
    st.builds(lambda text: {"type": "input_text", "text": text}, texts),
    st.just({"type": "input_audio", "audio": base64.b64encode(bytes(9600)).decode()}),
    st.builds(lambda text: {"type": "input_audio", "transcript": text}, texts),
)
items = st.one_of(
    st.builds(
        lambda content, role: {"type": "message", "role": role, "content": content},
        st.lists(parts, min_size=1, max_size=2),
        st.sampled_from(["user", "system", "assistant"]),
    ),
    st.builds(
        lambda call, out: {"type": "function_call_output", "call_id": call, "output": out},
        ids,
        texts,
    ),
    st.dictionaries(texts, json_values, max_size=3),
)
detections = st.sampled_from(
    [
        None,
        {"type": "server_vad"},
        {"type": "server_vad", "interrupt_response": False},
        {"type": "server_vad", "create_response": False, "idle_timeout_ms": 5000},
        {"type": "semantic_vad", "eagerness": "low"},
    ]
)


class AnyConversation(RuleBasedStateMachine):
    """A client that does anything, and a graph that does what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk()
        self.seen = 0

    def _client(self, name: str, **fields: Any) -> None:
        self.talk.client({"type": name, **fields})

    @rule(text=texts | json_values.map(lambda value: orjson.dumps(value).decode()))
    def rubbish(self, text: str) -> None:
        self.talk.do(self.talk.protocol.receive(parse(text)))

    @rule(model=models)
    def script(self, model: Model) -> None:
        self.talk.script.append(model)

    @rule(says=st.sampled_from(["", "Hello.", "Stop."]), seconds=st.sampled_from([0.05, 1.0]))
    def speech(self, says: str, seconds: float) -> None:
        self.talk.speech(seconds, says)

    @rule(seconds=st.sampled_from([0.1, 1.0, 9.0]))
    def silence(self, seconds: float) -> None:
        self.talk.silence(seconds)

    @rule(item=items, item_id=st.none() | ids, previous=st.none() | ids)
    def create(self, item: dict[str, Any], item_id: str | None, previous: str | None) -> None:
        item = item if item_id is None else {**item, "id": item_id}
        self._client("conversation.item.create", item=item, previous_item_id=previous)

    @rule(verb=st.sampled_from(["retrieve", "delete"]), item=ids)
    def touch(self, verb: str, item: str) -> None:
        self._client(f"conversation.item.{verb}", item_id=item)

    @rule(item=ids, end=st.integers(0, 900))
    def truncate(self, item: str, end: int) -> None:
        self._client("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=end)

    @rule(
        outside=st.booleans(),
        modality=st.sampled_from(["audio", "text"]),
        given=st.none() | st.lists(items, max_size=2),
    )
    def respond(self, outside: bool, modality: str, given: list[Any] | None) -> None:
        response: dict[str, Any] = {"output_modalities": [modality]}
        response["conversation"] = "none" if outside else "auto"
        if given is not None:
            response["input"] = given
        self._client("response.create", response=response)

    @rule()
    def cancel(self) -> None:
        self._client("response.cancel")

    @rule(detection=detections, told=st.booleans())
    def update(self, detection: Any, told: bool) -> None:
        transcription = {"model": "whisper-1"} if told else None
        source = {"turn_detection": detection, "transcription": transcription}
        self._client("session.update", session={"type": "realtime", "audio": {"input": source}})

    @rule(verb=st.sampled_from(["commit", "clear"]))
    def buffer(self, verb: str) -> None:
        self._client(f"input_audio_buffer.{verb}")

    @rule(known=st.booleans())
    def understanding(self, known: bool) -> None:
        self.talk.transcribe = (lambda says: says) if known else (lambda says: None)

    @invariant()
    def every_event_is_one_that_strict_clients_accept(self) -> None:
        for event in self.talk.events[self.seen :]:
            EVENTS.validate_json(orjson.dumps(event), strict=True)
        self.seen = len(self.talk.events)

    def teardown(self) -> None:
        """However it went, everything that was begun ends, in order."""
        for frame in [f for f in self.talk.pushed if isinstance(f, Respond)]:
            self.talk.frame(Answered(frame.response))
        self.talk.silence(1.0)
        for frame in [f for f in self.talk.pushed if isinstance(f, Respond)]:
            self.talk.frame(Answered(frame.response))
        assert broken_rules(self.talk.events) == []


TestAnyConversation = AnyConversation.TestCase
TestAnyConversation.settings = runs(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
