"""The Jinja2 that chat templates are written for, in a sandbox.

Its dialect is that of Hugging Face's transformers, whose tests the published templates passed. A
template's time is bounded: whatever repeats itself, a loop or a call, looks at the clock.
"""

import functools
import json
import operator
import re
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from engines.marked_text import MARK, marked, plain

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment


LARGEST: Final = 1 << 24
"""Items of a list, or characters of a text, that a template calculates."""

MOST_BITS: Final = 1 << 16
"""Of a number."""

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Templates that run in here fail when they have computed for so long, all together."""
    before = _deadline.set(time.thread_time() + seconds)
    try:
        yield
    finally:
        _deadline.reset(before)


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
        look = staticmethod(_look)
        intercepted_binops = frozenset(_OPERATORS)

        def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
            tree = super()._parse(source, name, filename)
            for loop in tree.find_all(nodes.For):
                look = nodes.Call(nodes.EnvironmentAttribute("look"), [], [], None, None)
                loop.body.insert(0, nodes.ExprStmt(look).set_lineno(loop.lineno))
            tree.set_environment(self)
            return tree

        def call(self, context: Context, function: Any, /, *args: Any, **named: Any) -> Any:
            if time.thread_time() > _deadline.get():
                raise RuntimeError("it takes too long")
            return marked(super().call(context, function, *args, **named))

        def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
            _bounded(operator, left, right)
            return _OPERATORS[operator](left, right)

    @pass_eval_context
    def join(context: EvalContext, *args: Any, **named: Any) -> str:
        return marked(sync_do_join(context, *args, **named))

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTags]
    )
    environment.filters.update(tojson=_tojson, join=join, replace=_replace)
    environment.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now)
    return environment


_OPERATORS: Final = {"+": operator.add, "*": operator.mul, "**": operator.pow}
"""Those whose results can be far larger than what they are made of."""


def _look() -> None:
    """Calling it looks at the clock, as every call does."""


def _bounded(operator: str, left: Any, right: Any) -> None:
    """Raises `RuntimeError` for an operation whose result would be too large."""
    match left, right:
        case int(), int():
            bits = left.bit_length()
            size = bits * right if operator == "**" else bits + right.bit_length()
            large = size > MOST_BITS
        case (int() as count, Sized() as text) | (Sized() as text, int() as count):
            large = len(text) * count > LARGEST
        case Sized(), Sized():
            large = len(left) + len(right) > LARGEST
        case _:
            large = False
    if large:
        raise RuntimeError("it calculates too much")


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
