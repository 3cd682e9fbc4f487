"""What the language model is asked for a response. No I/O."""

from collections.abc import Sequence

from engines.generation import Chat, Generate, Sampling
from pipelines.conversation import chat_messages
from pipelines.items import Item
from realtime.conversation_settings import Answering, ConversationSettings


def request_of(
    answering: Answering, settings: ConversationSettings, items: Sequence[Item], *, local: bool
) -> Generate:
    """The request for an answer to these items. `local`: the model is one of ours, whose chat
    template can be told not to think aloud; hosted ones refuse to be told."""
    # Thinking is silence to who listens: only where it was asked for.
    thinks = answering.reasoning_effort not in (None, "minimal")
    chat = Chat(
        chat_messages(items, answering.instructions),
        answering.tools,
        answering.tool_choice,
        answering.parallel_tool_calls,
        {"enable_thinking": thinks} if local else {},
    )
    sampling = Sampling()
    if answering.temperature is not None:
        sampling = Sampling(temperature=answering.temperature)
    return Generate(
        chat,
        sampling,
        max_tokens=answering.max_output_tokens,
        truncate=settings.truncation.mode == "auto",
        retention=settings.truncation.retention,
    )
