"""Makes the text of a prompt of a chat with the model's own chat template."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from engines.base import EngineError, InvalidInput
from engines.chat_sandbox import at_most, failures, sandbox
from engines.chat_shapes import (
    Arguments,
    Message,
    adapted,
    text_of,
    with_tools_described,
    without_tool_roles,
)
from engines.control_texts import ControlTexts
from engines.generation import Chat, Tool
from engines.marked_text import marked, plain

LONGEST_PROMPT: Final = 16 << 20
"""Characters."""

LONGEST_SECONDS: Final = 2.0
"""Of computing, for one chat. Published templates take milliseconds."""

_ROLES: Final = ("system", "developer", "user", "assistant", "tool")

_PROBE: Final = "probe"

_CHATML: Final = """\
{% for message in messages %}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant' }}
{% endif %}
"""


class ChatTemplate:
    """A model's chat template; without a `source`, ChatML.

    No text of a chat becomes one of the `special` texts, within the limits that `ControlTexts`
    states. The template's time is bounded and so is its result, but not its memory: it comes with
    the model's file and deserves the same trust. Raises `EngineError` if it does not compile.
    """

    def __init__(
        self, source: str | None, *, bos: str = "", eos: str = "", special: Iterable[str] = ()
    ) -> None:
        from jinja2 import nodes

        source = _CHATML if source is None else source
        try:
            tree = sandbox().parse(source)
            self._template = sandbox().from_string(tree)
        except failures() as error:
            raise EngineError(
                f"The model's chat template is not valid: {_reason(error)}."
            ) from error
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._control = ControlTexts((*special, bos, eos))
        self._takes_tools = any(name.name == "tools" for name in tree.find_all(nodes.Name))
        self._knows_developer = "developer" in source
        self._reads_thinking = ".thinking" in source
        self._wants_parts = not self._shows(in_parts=False) and self._shows(in_parts=True)

    @property
    def takes_tools(self) -> bool:
        """Whether the template itself tells the model of tools."""
        return self._takes_tools

    def render(self, chat: Chat) -> tuple[str, ...]:
        """The prompt in pieces. Tokenised one by one with control tokens and put together, only
        the template's own control texts become control tokens.

        Raises `InvalidInput` with the template's reason if it takes the chat in no shape.
        """
        try:
            with at_most(LONGEST_SECONDS):
                return self._control.pieces(self._rendered(chat))
        except failures() as error:
            raise InvalidInput(
                f"The model's chat template could not take these messages: {_reason(error)}.",
                "messages",
            ) from error

    def _rendered(self, chat: Chat) -> str:
        """The prompt of the first shape that the template takes. Raises any of `failures()`."""
        tools = () if chat.tool_choice.mode == "none" else chat.tools
        offered = [self._control.mark(_described(tool)) for tool in tools]
        variables = {**self._control.mark(chat.template), "tools": offered or None}
        messages = [self._message(message) for message in chat.messages]
        if not self._takes_tools:
            messages = without_tool_roles(messages)
            if offered:
                parallel = chat.parallel_tool_calls
                messages = with_tools_described(messages, offered, parallel=parallel)
        refusals: list[Exception] = []
        for shape in adapted(messages):
            try:
                return self._text(shape, variables, in_parts=self._wants_parts)
            except failures() as error:
                refusals.append(error)
        raise refusals[-1]

    def _message(self, message: Mapping[str, Any]) -> Message:
        """A message with the caller's texts marked and nothing that is None, except a content
        beside calls: templates ask whether there is one."""
        role = message.get("role")
        if role not in _ROLES:
            known = ", ".join(_ROLES)
            raise InvalidInput(f"A message has an unknown role; the roles are {known}.", "messages")
        if role == "developer" and not self._knows_developer:
            role = "system"
        given = {key: value for key, value in message.items() if value is not None}
        if "content" in given:
            given["content"] = text_of(given["content"])
        found = {"content": None, **self._control.mark(given), "role": role}
        if calls := found.pop("tool_calls", None):
            found["tool_calls"] = [_call(call) for call in calls]
        elif found["content"] is None:
            found["content"] = ""
        beside = calls and found["content"]  # gpt-oss's refuses a thought and a text with calls
        if self._reads_thinking and "reasoning_content" in found and not beside:
            found["thinking"] = found["reasoning_content"]
        return found

    def _text(
        self, messages: Sequence[Message], variables: Mapping[str, Any], *, in_parts: bool
    ) -> str:
        """What the template makes of them. Raises any of `failures()`."""
        given = {
            "documents": None,
            "add_generation_prompt": True,
            **{key: value for key, value in variables.items() if key not in sandbox().globals},
            **self._tokens,
            "messages": [_in_parts(message) for message in messages] if in_parts else messages,
        }
        texts = []
        length = 0
        for text in self._template.generate(given):
            texts.append(text)
            length += len(text)
            if length > LONGEST_PROMPT:
                most = LONGEST_PROMPT >> 20
                raise InvalidInput(f"The prompt is longer than {most} Mi characters.", "messages")
        return marked("".join(texts))

    def _shows(self, *, in_parts: bool) -> bool:
        """Whether a text of this form gets into the prompt: some templates for images look for
        parts only, and pass over a plain text."""
        messages = [{"role": "user", "content": _PROBE}]
        try:
            with at_most(LONGEST_SECONDS):
                return _PROBE in self._text(messages, {"tools": None}, in_parts=in_parts)
        except failures():
            return False


def truncated(chat: Chat) -> Chat | None:
    """The chat without its oldest message that may go; None if none may.

    System messages stay, and so does everything from the user's last message on. A call and its
    results go together.
    """
    messages = chat.messages
    roles = [message["role"] for message in messages]
    last = max((at for at, role in enumerate(roles) if role == "user"), default=len(messages) - 1)
    groups = call_groups(messages)
    for at in range(last):
        gone = {other for other, group in enumerate(groups) if group == groups[at]}
        if roles[at] not in ("system", "developer") and max(gone) < last:
            left = tuple(message for at, message in enumerate(messages) if at not in gone)
            return replace(chat, messages=left)
    return None


def call_groups(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """For each message which one it goes with: a result with its call's, the others with none."""
    groups = []
    calls: dict[Any, int] = {}
    for at, message in enumerate(messages):
        calls |= {call.get("id"): at for call in message.get("tool_calls") or ()}
        is_result = message["role"] == "tool"
        groups.append(calls.get(message.get("tool_call_id"), at) if is_result else at)
    return groups


def _described(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments", {})
    if isinstance(arguments, dict):
        arguments = Arguments(arguments)
    return {"type": "function", **call, "function": {**function, "arguments": arguments}}


def _in_parts(message: Message) -> Message:
    content = message["content"]
    return {**message, "content": [{"type": "text", "text": content}]} if content else message


def _reason(error: Exception) -> str:
    """In one line, without a stop; a failure that says nothing is named."""
    reason = " ".join(plain(str(error)).split())[:300].rstrip(".")
    return reason or type(error).__name__
