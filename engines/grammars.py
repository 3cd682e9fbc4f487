"""Grammars that keep a model's answer to JSON, or to JSON that fits a schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.base import InvalidInput
from engines.gbnf import Rules, TooLarge
from engines.schema_grammar import SchemaRules, any_object
from engines.schema_keywords import SchemaError


@dataclass(frozen=True, slots=True)
class Grammar:
    """A GBNF grammar, enforced from the first token; its root rule is `root`."""

    text: str


def json_grammar(schema: Mapping[str, Any] | None) -> Grammar:
    """JSON that fits `schema`; None: any object. Raises `InvalidInput`, which names the keyword."""
    rules = Rules()
    root = format_rule(rules, schema)
    return Grammar(rules.text(root))


def format_rule(rules: Rules, schema: Mapping[str, Any] | None) -> str:
    """The name of the rule for a `json_grammar`, added to `rules`."""
    if schema is None:
        return any_object(rules)
    try:
        return schema_rule(rules, schema)
    except SchemaError as error:
        message = f"Invalid schema for response_format: {error}."
        raise InvalidInput(message, param="response_format") from None


def schema_rule(rules: Rules, schema: Mapping[str, Any]) -> str:
    """The name of the rule for JSON that fits `schema`, added to `rules`. Raises `SchemaError`."""
    try:
        return SchemaRules(rules, schema).root()
    except TooLarge:
        raise SchemaError("it needs a grammar that is too large") from None
