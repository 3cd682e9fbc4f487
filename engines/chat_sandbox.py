"""The Jinja2 that chat templates are written for, in a sandbox.

Its dialect is that of Hugging Face's transformers, whose tests the published templates passed.
"""

import functools
import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from engines.marked_text import MARK, marked, plain

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment


@functools.cache
def failures() -> tuple[type[Exception], ...]:
    """What a template may raise, which is a program that nobody here has read."""
    from jinja2 import TemplateError

    return (
        TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
    )


@functools.cache
def sandbox() -> "SandboxedEnvironment":
    """Marks on texts outlive everything that a template does, joins and calls included."""
    from jinja2 import nodes, pass_eval_context
    from jinja2.compiler import CodeGenerator, Frame
    from jinja2.ext import Extension, loopcontrols
    from jinja2.filters import sync_do_join
    from jinja2.nodes import EvalContext
    from jinja2.parser import Parser
    from jinja2.runtime import Context
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generator(CodeGenerator):
        def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
            self.write("concat(map(str, (")
            for part in node.nodes:
                self.visit(part, frame)
                self.write(", ")
            self.write(")))")

    class GenerationTags(Extension):
        """`{% generation %}`, which tells trainers what the model writes."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Sandbox(ImmutableSandboxedEnvironment):
        code_generator_class = Generator
        concat = staticmethod(_concat)

        def call(self, context: Context, function: Any, /, *args: Any, **named: Any) -> Any:
            return marked(super().call(context, function, *args, **named))

    @pass_eval_context
    def join(context: EvalContext, *args: Any, **named: Any) -> str:
        return marked(sync_do_join(context, *args, **named))

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTags]
    )
    environment.filters.update(tojson=_tojson, join=join, replace=_replace)
    environment.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now)
    return environment


def _concat(parts: Iterable[str]) -> str:
    return marked("".join(parts))


def _raise_exception(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    """The local time: a prompt says what day it is where the user is."""
    return datetime.now().strftime(plain(form))


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Python writes it; Jinja2's own filter escapes for HTML."""
    text = json.dumps(
        value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys
    )
    if ensure_ascii:
        text = re.sub(f"[^\0-\x7f{MARK}]", lambda found: json.dumps(found[0])[1:-1], text)
    return marked(text)


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    whole = text if isinstance(text, str) else str(text)
    return marked(whole.replace(plain(old), new, -1 if count is None else count))
