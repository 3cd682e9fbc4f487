"""How the families of chat models write their thoughts and their calls of tools: how to read that,
and the grammar that keeps a model to it.

All grammars are enforced from the first token. What may come before a call (thoughts, text) is part
of them: llama.cpp's lazy grammars end the process when the piece that triggers them goes on with
what the grammar does not allow, and search the whole answer at each token until then.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from engines.answers import Answer, AnswerParser, Said
from engines.base import InvalidInput
from engines.gbnf import (
    ANY,
    Other,
    Rules,
    TooLarge,
    grown,
    json_text,
    literal,
    one_of,
    other_than,
    words,
)
from engines.generation import Chat, Format, Tool
from engines.grammars import Grammar, format_rule, schema_rule
from engines.schema_grammar import WHITE, any_object
from engines.schema_keywords import SchemaError
from engines.tool_calls import (
    HERMES_TAGS,
    MISTRAL_TAG,
    PYTHON_TAG,
    Hermes,
    Llama,
    Mistral,
    Syntax,
    ToolCalls,
)

Name = Literal["hermes", "llama3", "mistral", "plain"]

LEAD: Final = r"[ \t\n]{0,4}"
"""White space before what an answer consists of."""

MISTRAL_ID: Final = 9
"""Characters of a call's id: Mistral's templates refuse others."""


@dataclass(frozen=True, slots=True)
class Family:
    """A way to write. `think`: the tags around thoughts; `thinks`: the template knows them, so that
    an answer may begin with thoughts. `named`: the newer of Mistral's ways, the function's name
    before its arguments."""

    name: Name
    think: tuple[str, str] = ("<think>", "</think>")
    thinks: bool = False
    named: bool = False

    def parser(self, chat: Chat, *, thinking: bool) -> AnswerParser:
        """Reads one answer. `thinking`: the prompt ended inside the thoughts."""
        if not _callable(chat):
            return Answer(Said(), self.think, thinking=thinking)
        syntax: Syntax
        match self.name:
            case "llama3":
                syntax = Llama()
            case "mistral":
                syntax = Mistral()
            case _:
                syntax = Hermes()
        names = [tool.name for tool in chat.tools]
        calls = ToolCalls(syntax, names, _mistral_id if self.name == "mistral" else _call_id)
        return Answer(calls, self.think, thinking=thinking)

    def grammar(self, chat: Chat, format: Format, *, thinking: bool = False) -> Grammar | None:
        """What keeps an answer to its tools and its format; None: it may be anything.

        `thinking` as for `parser`. Raises `InvalidInput` for a schema that is not supported, and
        for a choice of a tool that is not there.
        """
        tools = _wanted(chat)
        if not tools and format.kind == "text":
            return None
        rules = Rules()
        try:
            text = _Answers(self, rules).text(chat, tools, format, thinking=thinking)
        except TooLarge:
            message = "The schemas need a grammar that is too large."
            raise InvalidInput(message, param="tools" if tools else "response_format") from None
        return Grammar(text)


def family_of(template: str | None) -> Family:
    """The family that a chat template is written for."""
    template = template or ""
    think = ("[THINK]", "[/THINK]") if "[THINK]" in template else ("<think>", "</think>")
    thinks = think[0] in template or think[1] in template
    named = "[ARGS]" in template
    name: Name = "plain"
    if MISTRAL_TAG in template:
        name = "mistral"
    elif HERMES_TAGS[0] in template:
        name = "hermes"
    elif PYTHON_TAG in template or ("<|start_header_id|>" in template and "tools" in template):
        name = "llama3"
    return Family(name, think, thinks, named)


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def _mistral_id() -> str:
    return secrets.token_hex(MISTRAL_ID)[:MISTRAL_ID]


def _callable(chat: Chat) -> bool:
    return bool(chat.tools) and chat.tool_choice.mode != "none"


def _wanted(chat: Chat) -> tuple[Tool, ...]:
    """The tools that may be called. Raises `InvalidInput` if one must be that is not there."""
    choice = chat.tool_choice
    if choice.mode == "none":
        return ()
    if choice.name is None:
        if choice.mode == "required" and not chat.tools:
            message = "A tool must be called (tool_choice), but there are no tools."
            raise InvalidInput(message, param="tool_choice")
        return chat.tools
    tools = tuple(tool for tool in chat.tools if tool.name == choice.name)
    if not tools:
        message = f"The function '{choice.name}' that must be called is not among the tools."
        raise InvalidInput(message, param="tool_choice")
    return tools[:1]


class _Answers:
    """Writes the grammar of one answer into `rules`."""

    def __init__(self, family: Family, rules: Rules) -> None:
        self._family = family
        self._rules = rules
        self._white = rules.add("white", WHITE)

    def text(self, chat: Chat, tools: Sequence[Tool], format: Format, *, thinking: bool) -> str:
        must = chat.tool_choice.mode == "required" or chat.tool_choice.name is not None
        free = not must and format.kind == "text"
        bodies = []
        if tools:
            more = chat.parallel_tool_calls and chat.tool_choice.name is None
            bodies.append(self._calls(tools, more=more, free=free))
        if not must and format.kind != "text":
            schema = format.schema if format.kind == "json_schema" else None
            bodies.append(f"{LEAD} {format_rule(self._rules, schema)}")
        answer = self._rules.add("answer", one_of(bodies))
        return self._rules.text(self._with_thoughts(answer, free=free, thinking=thinking))

    def _with_thoughts(self, answer: str, *, free: bool, thinking: bool) -> str:
        """`answer`, after thoughts where there may be some; `free`: they may be all there is."""
        if not thinking and not self._family.thinks:
            return answer
        opening, closing = self._family.think
        thoughts = self._rules.until(closing, answer, may_end=free)
        return thoughts if thinking else f"{LEAD} {literal(opening)} {thoughts} | {answer}"

    def _calls(self, tools: Sequence[Tool], *, more: bool, free: bool) -> str:
        """One call, or with `more` one or several; `free`: after any text, or only text."""
        match self._family.name:
            case "llama3":
                return self._untagged(tools, more=more, free=free)
            case "mistral" if self._family.named:
                tag, call = MISTRAL_TAG, self._named(tools)
                body = f"{call} ({literal(tag)} {call})*" if more else call
            case "mistral":
                tag, white = MISTRAL_TAG, self._white
                call = self._object(tools, "arguments")
                following = f'("," {white} {call})*' if more else ""
                body = f'{white} "[" {white} {call} {following} {white} "]"'
            case _:
                tag, closing = HERMES_TAGS
                call = f"{self._white} {self._object(tools, 'arguments')} {self._white}"
                call = self._rules.add("call", f"{call} {literal(closing)}")
                body = rf'{call} ("\n"{{0,2}} {literal(tag)} {call})*' if more else call
        body = self._rules.add("calls", body)
        if free:
            return self._rules.until(tag, body, may_end=True)
        return f"{LEAD} {literal(tag)} {body}"

    def _untagged(self, tools: Sequence[Tool], *, more: bool, free: bool) -> str:
        call = self._object(tools, "parameters")
        following = f'(";" {self._white} {call})*' if more else ""
        calls = f"{LEAD} {literal(PYTHON_TAG)}? {call} {following}"
        return f"{calls} | {self._uncalled(tools)}" if free else calls

    def _uncalled(self, tools: Sequence[Tool]) -> str:
        """The name of the rule for a text that does not begin with thoughts, nor like a call of one
        of `tools`."""
        tree = words([PYTHON_TAG, *([self._family.think[0]] if self._family.thinks else [])])
        for tool in tools:
            grown(tree, '{"name":' + json_text(tool.name)).last = True
        for beginning in ("", "{", '{"name"', '{"name":'):
            grown(tree, beginning).spaced = True
        rest = self._rules.add("text", f"{ANY}*")
        return other_than(self._rules, tree, Other(rest))

    def _object(self, tools: Sequence[Tool], key: str) -> str:
        """The name of the rule for a call as an object, the arguments under `key`."""
        white = self._white
        choices = (
            f"{literal(json_text(tool.name) + ',')} {white} {literal(json_text(key) + ':')} "
            f"{white} {self._arguments(tool)}"
            for tool in tools
        )
        body = f'"{{" {white} {literal(json_text("name") + ":")} {white} ({one_of(choices)})'
        return self._rules.add("call", f'{body} {white} "}}"')

    def _named(self, tools: Sequence[Tool]) -> str:
        choices = (
            f"{literal(tool.name + '[ARGS]')} {self._white} {self._arguments(tool)}"
            for tool in tools
        )
        return self._rules.add("call", one_of(choices))

    def _arguments(self, tool: Tool) -> str:
        """The name of the rule for the arguments of `tool`: any object, where its schema is not
        supported and the tool is not strict."""
        before = self._rules.copy()
        try:
            if tool.parameters.get("type", "object") != "object":
                raise SchemaError("the parameters must be an object")
            return schema_rule(self._rules, {**tool.parameters, "type": "object"})
        except SchemaError as error:
            if tool.strict:
                message = f"Invalid schema for function '{tool.name}': {error}."
                raise InvalidInput(message, param="tools") from None
            self._rules.restore(before)
            return any_object(self._rules)
