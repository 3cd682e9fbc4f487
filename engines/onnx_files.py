"""What can be said of an ONNX file without the library that edits them: its bytes are protocol
buffers, read and extended here as far as Piper voices need it."""

from collections.abc import Iterator

# Field numbers of ModelProto, GraphProto, NodeProto and ValueInfoProto in onnx.proto.
_GRAPH = 7
_NODE, _OUTPUT = 1, 12
_NODE_OUTPUT, _NODE_TYPE = 2, 4
_VALUE_NAME = 1


def with_durations(network: bytes) -> bytes:
    """A VITS network that also gives how long each of its inputs sounds, in frames; as it was
    where it cannot, or does already.

    Durations are what its only `Ceil` rounds up; that tensor becomes one more output. Repeated
    fields of messages that come in two parts are joined, so what is new is added at the end.
    """
    try:
        graph = _only(network, _GRAPH)
        nodes = [memoryview(node) for node in _values(graph, _NODE)]
        rounded = [node for node in nodes if bytes(_only(node, _NODE_TYPE)) == b"Ceil"]
        outputs = [bytes(_only(output, _VALUE_NAME)) for output in _values(graph, _OUTPUT)]
        (name,) = (bytes(output) for node in rounded for output in _values(node, _NODE_OUTPUT))
    except ValueError:
        return network
    if len(outputs) != 1 or name in outputs:
        return network
    return network + field(_GRAPH, field(_OUTPUT, field(_VALUE_NAME, name)))


def field(number: int, value: bytes) -> bytes:
    """A field of bytes, text or an embedded message."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """A number that is not negative, in groups of seven bits."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _only(message: bytes | memoryview, number: int) -> memoryview:
    (value,) = _values(message, number)
    return value


def _values(message: bytes | memoryview, number: int) -> Iterator[memoryview]:
    """The fields of this number that hold bytes. Raises `ValueError` for what is no message."""
    view = memoryview(message)
    at = 0
    while at < len(view):
        key, at = _varint_at(view, at)
        match key & 7:
            case 0:
                _, at = _varint_at(view, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint_at(view, at)
                if at + length > len(view):
                    raise ValueError("the message is cut off")
                if key >> 3 == number:
                    yield view[at : at + length]
                at += length
            case 5:
                at += 4
            case _:
                raise ValueError("not a message")


def _varint_at(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the message is cut off")
