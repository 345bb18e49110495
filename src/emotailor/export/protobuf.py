"""As much of protobuf as it takes to look into an ONNX file before anything runs it.

Only the wire format is read, and of the file only what is asked for: weights are passed over.
https://protobuf.dev/programming-guides/encoding, onnx.proto of ONNX 1.23.
"""

from collections.abc import Iterator

MOST_DEPTH = 24
"""How deep graphs may lie in graphs; those of ours have two levels of each kind."""

Value = int | memoryview

# numbers of fields, message -> field -> the message that is in it; what is not here is passed over
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_KEYS = 2**32  # a key has 32 bits
_METADATA = 14  # of a model
_LOCATION = 14  # of a tensor: 1 for a file elsewhere
_ELSEWHERE = 13  # of a tensor: which file


def metadata_of(content: memoryview) -> dict[str, str]:
    """Return the metadata of an ONNX model; of a key that is there twice, the last value.

    Raises:
        ValueError: it is no protobuf, or no text.
    """
    found = {}
    for number, value in _fields(content):
        if number == _METADATA and isinstance(value, memoryview):
            entry = {n: v for n, v in _fields(value) if isinstance(v, memoryview)}
            key = bytes(entry.get(1, memoryview(b""))).decode("utf-8")
            found[key] = bytes(entry.get(2, memoryview(b""))).decode("utf-8")
    return found


def metadata_entry(key: str, value: str) -> bytes:
    """Return bytes that add an entry to the metadata of an ONNX model, put behind its own."""
    entry = _field(1, key.encode()) + _field(2, value.encode())
    return _field(_METADATA, entry)


def has_data_elsewhere(content: memoryview) -> bool:
    """Return whether a tensor of an ONNX model lies in another file.

    Raises:
        ValueError: it is no protobuf, or graphs lie in graphs without end.
    """
    return _is_elsewhere(content, "model", 0)


def _is_elsewhere(content: memoryview, kind: str, depth: int) -> bool:
    if depth > MOST_DEPTH:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")

    inside = _INSIDE[kind]
    for number, value in _fields(content):
        if kind == "tensor" and (number == _ELSEWHERE or (number == _LOCATION and value == 1)):
            return True
        if isinstance(value, int) or number not in inside:
            continue
        if _is_elsewhere(value, inside[number], depth + 1):
            return True
    return False


def _fields(content: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield number and value of each field of a message; fixed-width numbers as their bytes.

    Raises:
        ValueError: it is no message, or it ends too early.
    """
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        if key >= _KEYS:
            # others read it without its upper bits, as another field than we do
            raise ValueError("it is no protobuf")
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(content, place)
            yield number, value
            continue

        if wire == 2:
            length, place = _varint(content, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("it is no protobuf")
        end = place + length
        if end > len(content):
            raise ValueError("it ends too early")
        yield number, content[place:end]
        place = end


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Return a number of variable length, and where it ends."""
    found = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            raise ValueError("it ends too early")
        byte = content[place]
        place += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, place
    raise ValueError("it is no protobuf")


def _field(number: int, value: bytes) -> bytes:
    return _as_varint(number << 3 | 2) + _as_varint(len(value)) + value


def _as_varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
