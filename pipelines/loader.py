"""Pipelines from YAML files: read strictly, checked whole, built as often as needed.

A file has `nodes:`, each with `use:` (a node type), `from:` (a node, a list, or `input`; omitted:
the node above) and the node's own settings. Or it names roles (`vad:`, `stt:`, `llm:`, `tts:`),
which expand to nodes.
Every mistake is one line with the file, the line and the nearest valid name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engines.strict_yaml import Document, load, unknown_name, validate
from pipelines.context import Context
from pipelines.frames import Frame
from pipelines.graph import Graph, Node, connect
from pipelines.nodes import play, respond, sink, speak, transcribe, vad

INPUT = "input"
"""The name that `from:` uses for what the session pushes in."""

CAPTIONS = Path(__file__).with_name("captions.yaml")
ASSISTANT = Path(__file__).with_name("assistant.yaml")


@dataclass(frozen=True, slots=True)
class NodeType:
    """A word that `use:` knows: its class, its settings, how to build it."""

    node: type[Node]
    settings: type[BaseModel]
    build: Callable[[str, Any, Context], Node]
    utterances: bool = False
    """Whether it takes utterances, which the input has not been cut into."""


TYPES: Mapping[str, NodeType] = {
    "vad": NodeType(vad.VoiceActivity, vad.Settings, vad.VoiceActivity),
    "transcribe": NodeType(
        transcribe.Transcribe, transcribe.Settings, transcribe.Transcribe, utterances=True
    ),
    "respond": NodeType(respond.Responder, respond.Settings, respond.Responder),
    "speak": NodeType(speak.Speaker, speak.Settings, speak.Speaker),
    "play": NodeType(play.Player, play.Settings, play.Player),
    "sink": NodeType(sink.Sink, sink.Settings, sink.Sink),
}


@dataclass(frozen=True, slots=True)
class Role:
    """The node types that a role expands to, each one's node named like it.

    `names` is the setting of the first that a role's text value is; `plain` is a text value that
    sets nothing.
    """

    uses: tuple[str, ...]
    names: str | None = None
    plain: str | None = None


ROLES: Mapping[str, Role] = {
    "vad": Role(("vad",), plain="silero"),
    "stt": Role(("transcribe",), "model"),
    "llm": Role(("respond",), "model"),
    "tts": Role(("speak", "play"), "voice"),
}
"""The roles, in the order of their nodes."""

_TOP = ("name", "description", "nodes", *ROLES)


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One checked node: its type, what it hears, its settings."""

    name: str
    use: str
    sources: tuple[str, ...]
    settings: BaseModel


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked pipeline, ready to build any number of graphs."""

    name: str
    description: str
    nodes: tuple[NodePlan, ...]

    def build(self, context: Context) -> Graph:
        """A graph of its own for one session."""
        nodes = {
            plan.name: TYPES[plan.use].build(plan.name, plan.settings, context)
            for plan in self.nodes
        }
        for plan in self.nodes:
            for source in plan.sources:
                if source != INPUT:
                    connect(nodes[source], nodes[plan.name])
        entries = [nodes[plan.name] for plan in self.nodes if INPUT in plan.sources]
        return Graph(list(nodes.values()), entries, context.ready_seconds)


def load_plan(path: Path, environ: Mapping[str, str] | None = None) -> Plan:
    """Read a pipeline file. Blocks; raises `ConfigError`."""
    return plan_of(load(path, environ or {}, path.name))


def plan_of(document: Document) -> Plan:
    """Check a pipeline document. Raises `ConfigError`."""
    if not isinstance(document.value, dict):
        raise document.error((), "a pipeline is a mapping with `nodes:` or roles")
    for key in document.value:
        if key not in _TOP:
            raise document.error((key,), unknown_name("key", key, _TOP))
    document = _expand_roles(document)
    nodes = document.value.get("nodes")
    if not isinstance(nodes, dict) or not nodes:
        raise document.error(("nodes",), "a pipeline needs `nodes:` (or roles such as `stt:`)")
    plans: list[NodePlan] = []
    for name in nodes:
        plans.append(_node(document, name, tuple(nodes), plans[-1].name if plans else INPUT))
    _check_order(document, plans)
    _check_frames(document, plans)
    title = str(document.value.get("name", Path(document.file).stem))
    return Plan(title, str(document.value.get("description", "")), tuple(plans))


def _expand_roles(document: Document) -> Document:
    roles = [role for role in ROLES if role in document.value]
    if not roles:
        return document
    if "nodes" in document.value:
        raise document.error((roles[0],), f"use either `nodes:` or roles, not both ('{roles[0]}')")
    nodes: dict[str, Any] = {}
    lines = dict(document.lines)
    for role in roles:
        settings = _role_settings(document, role)
        for use in ROLES[role].uses:
            nodes[use] = {"use": use}
            lines[("nodes", use)] = document.line_of((role,))
        for key, value in settings.items():
            use = _home(ROLES[role], key)
            nodes[use][key] = value
            lines[("nodes", use, key)] = document.line_of((role, key))
    nodes["client"] = {"use": "sink"}
    return replace(document, value={**document.value, "nodes": nodes}, lines=lines)


def _role_settings(document: Document, role: str) -> dict[str, Any]:
    value, names, plain = document.value[role], ROLES[role].names, ROLES[role].plain
    if names is not None and isinstance(value, str):
        return {names: value}
    if plain is not None and value in (plain, None):
        return {}
    if not isinstance(value, dict):
        raise document.error((role,), f"'{role}' is a name or a mapping of settings")
    return value


def _home(role: Role, key: str) -> str:
    """The node type that a role's setting is for; one that none has is a mistake in the first."""
    return next((use for use in role.uses if key in TYPES[use].settings.model_fields), role.uses[0])


def _node(document: Document, name: str, names: Sequence[str], above: str) -> NodePlan:
    at = ("nodes", name)
    spec = document.value["nodes"][name]
    if name == INPUT:
        raise document.error(at, f"'{INPUT}' is taken: it is what comes in")
    if not isinstance(spec, dict) or not isinstance(spec.get("use"), str):
        raise document.error(at, f"the node '{name}' needs `use:` with a node type")
    use = spec["use"]
    if use not in TYPES:
        raise document.error((*at, "use"), unknown_name("node type", use, tuple(TYPES)))
    sources = _sources(document, name, spec.get("from", above), (INPUT, *names))
    settings = {key: value for key, value in spec.items() if key not in ("use", "from")}
    nodes = {**document.value["nodes"], name: settings}
    bare = replace(document, value={**document.value, "nodes": nodes})
    return NodePlan(name, use, sources, validate(TYPES[use].settings, bare, at))


def _sources(
    document: Document, name: str, written: object, known: Sequence[str]
) -> tuple[str, ...]:
    at = ("nodes", name, "from")
    sources = [written] if isinstance(written, str) else written
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise document.error(at, f"'from' of the node '{name}' is a node's name or a list of names")
    if not sources:
        raise document.error(at, f"the node '{name}' hears nothing: `from:` is empty")
    for source in sources:
        if source not in known:
            raise document.error(at, unknown_name("node", source, known))
        if sources.count(source) > 1:
            raise document.error(at, f"the node '{name}' names '{source}' twice in `from:`")
    return tuple(sources)


def _check_order(document: Document, plans: Sequence[NodePlan]) -> None:
    """Every node must be reachable from the input without a circle."""
    done = {INPUT}
    rest = list(plans)
    while rest:
        ready = [plan for plan in rest if done.issuperset(plan.sources)]
        if not ready:
            names = " → ".join(plan.name for plan in rest)
            raise document.error(
                ("nodes", rest[0].name, "from"), f"these nodes form a circle: {names}"
            )
        done.update(plan.name for plan in ready)
        rest = [plan for plan in rest if plan not in ready]


def _check_frames(document: Document, plans: Sequence[NodePlan]) -> None:
    by_name = {plan.name: plan for plan in plans}
    heard = {source for plan in plans for source in plan.sources}
    for plan in plans:
        if INPUT in plan.sources and TYPES[plan.use].utterances:
            raise document.error(
                ("nodes", plan.name),
                f"the node '{plan.name}' ({plan.use}) takes utterances, which '{INPUT}' is not "
                "cut into: let it hear a node of type 'vad'",
            )
        for source in plan.sources:
            if source != INPUT and not _fits(by_name[source], plan):
                raise document.error(
                    ("nodes", plan.name),
                    f"the node '{plan.name}' ({plan.use}) cannot use anything that '{source}' "
                    f"({by_name[source].use}) sends",
                )
        if plan.name not in heard and TYPES[plan.use].node.emits:
            raise document.error(
                ("nodes", plan.name),
                f"nothing hears the node '{plan.name}': name it in a `from:`, or end with a sink",
            )


def _fits(sender: NodePlan, receiver: NodePlan) -> bool:
    """Whether the receiver takes any frame the sender sends that carries content."""
    takes = TYPES[receiver.use].node.accepts
    return any(issubclass(sent, takes) for sent in _content(TYPES[sender.use].node.emits))


def _content(frames: Sequence[type[Frame]]) -> list[type[Frame]]:
    passed_through = {"Clear", "Commit", "Configure", "End", "Error", "Metrics"}
    passed_through |= {"SpeechStarted", "Pause", "SpeechStopped", "Hold", "IdleTimeout"}
    return [frame for frame in frames if frame.__name__ not in passed_through]
