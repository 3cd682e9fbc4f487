"""What is true of every Realtime session's server events, whatever happens in it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from score import Event

_DONE_KEYS = {
    "response.output_text": "text",
    "response.output_audio_transcript": "transcript",
    "response.function_call_arguments": "arguments",
}


def broken_rules(events: Sequence[Event]) -> list[str]:
    """A sentence for every rule that a whole session breaks."""
    return [
        *_unique_ids(events),
        *_pairs(events, "response.output_item", "item_of_response"),
        *_pairs(events, "response.content_part", "part"),
        *_last_words(events),
        *_joined_deltas(events),
        *_chain(events),
    ]


def _unique_ids(events: Iterable[Event]) -> list[str]:
    ids = Counter(event["event_id"] for event in events)
    return [f"the event id {name} comes {count} times" for name, count in ids.items() if count > 1]


def _pairs(events: Iterable[Event], name: str, what: str) -> list[str]:
    """What was added is done exactly once, and not before."""
    broken, open_ = [], Counter[tuple[object, ...]]()
    for event in events:
        keys = ("response_id", "output_index", "item_id", "content_index")
        place = tuple(event.get(key) for key in keys)
        if event["type"] == f"{name}.added":
            open_[place] += 1
        elif event["type"] == f"{name}.done":
            open_[place] -= 1
            if open_[place] < 0:
                broken.append(f"{what} {place} is done and was not added")
    return broken + [f"{what} {place} is {count} times open" for place, count in (+open_).items()]


def _last_words(events: Iterable[Event]) -> list[str]:
    """`response.done` is sent for every response, and nothing of it afterwards."""
    broken, state = [], dict[str, str]()
    for event in events:
        response = event["response"]["id"] if "response" in event else event.get("response_id")
        if response is None:
            continue
        if state.get(response) == "response.done":
            broken.append(f"{event['type']} comes after {response} was done")
        if response not in state and event["type"] != "response.created":
            broken.append(f"{event['type']} comes before {response} was created")
        state[response] = event["type"]
    return broken + [
        f"{name} is never done" for name, last in state.items() if last != "response.done"
    ]


def _joined_deltas(events: Iterable[Event]) -> list[str]:
    broken, deltas, over = [], defaultdict[tuple[str, str], str](str), set[tuple[str, str]]()
    for event in events:
        place, _, state = event["type"].rpartition(".")
        if place not in _DONE_KEYS:
            continue
        key = (place, event["item_id"])
        if key in over:
            broken.append(f"{state} of {key} comes after its end")
        if state == "delta":
            deltas[key] += event["delta"]
            continue
        over.add(key)
        if event[_DONE_KEYS[place]] != deltas[key]:
            broken.append(f"the deltas of {key} are {deltas[key]!r}, and not what is done")
    return broken


def _chain(events: Iterable[Event]) -> list[str]:
    """Items are added once, after an item that is there, and done once, after that."""
    broken, there, over = [], set[str](), set[str]()
    for event in events:
        match event["type"]:
            case "conversation.item.added":
                item, previous = event["item"]["id"], event.get("previous_item_id")
                if item in there:
                    broken.append(f"{item} is added twice")
                if previous is not None and previous not in there:
                    broken.append(f"{item} follows {previous}, which is not there")
                there.add(item)
            case "conversation.item.done":
                item = event["item"]["id"]
                if item not in there or item in over:
                    broken.append(f"{item} is done twice, or was not added")
                over.add(item)
            case "conversation.item.deleted":
                there.discard(event["item_id"])
                over.discard(event["item_id"])
            case "conversation.item.input_audio_transcription.completed":
                if event["item_id"] not in over:
                    broken.append(f"{event['item_id']} has its text before it is done")
    return broken + [f"{item} is never done" for item in there - over]
