"""Running a pickle on a machine of our own, which knows plain containers and nothing else.

A pickle is a program for a stack machine: its opcodes make values, put them into containers, keep
them in a memo, and call functions by name. This machine imports nothing. Whoever makes it says
which names there are (:class:`Function`); an opcode that could change anything else than a list,
a dictionary or a set of the pickle's own is refused. Every size is checked before it is believed.

The opcodes are documented in the standard library's ``pickletools``.
"""

import codecs
import pickle
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emotailor.data.readers._common import unreadable
from emotailor.data.readers.safe.budget import Budget, NotPlainError
from emotailor.errors import DataError

Args = tuple[Any, ...]

_DAMAGE = (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, MemoryError, OSError)
_LONGEST_SHOWN = 100
_LONGEST_LINE = 1024  # of a number or a name written as text
_LONGEST_INT = 255  # bytes
_MOST_MARKS = 1000
_LARGEST_MEMO = 2**32
_LARGEST_KEY = 2**64
_LONGEST_KEY = 8
_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})


class Inert:
    """What stands for an object of unknown type: whatever is done to it has no effect."""

    __slots__ = ()


class Function:
    """A function that a pickle may call but not change.

    Args:
        call: (budget, arguments) -> result; raises ``UnpicklingError`` over wrong arguments.
    """

    __slots__ = ("call",)

    def __init__(self, call: Callable[[Budget, Args], Any]) -> None:
        self.call = call


class Unfinished(ABC):
    """What a call made and a state, given once, turns into its value."""

    __slots__ = ("done", "memo_keys")

    def __init__(self) -> None:
        self.done = False
        self.memo_keys: list[int] = []

    @abstractmethod
    def finish(self, state: Any, budget: Budget) -> Any:
        """Return the value.

        Raises:
            UnpicklingError: the state is not right.
        """


@contextmanager
def refused(path: Path, expected: str) -> Iterator[None]:
    """Turn what a pickle or the file it is in does wrong into a ``DataError``.

    Args:
        path: the file.
        expected: what an undamaged one would be.
    """
    try:
        with unreadable(path, expected, _DAMAGE):
            yield
    except DataError as error:
        cause = error.__cause__
        if not isinstance(cause, NotPlainError):
            raise
        raise DataError(
            f"{path} cannot be read: {cause}",
            expected="arrays of plain numbers or text, lists, dictionaries and strings",
            fix="export the arrays again as those, if you trust where the file is from",
        ) from cause


def printable(name: str) -> str:
    """Return a name that a file gives, short and without anything that a terminal would obey."""
    if not name.isprintable():
        name = ascii(name)
    return name[:_LONGEST_SHOWN]


def arguments(args: Args, least: int, most: int) -> Args:
    """Return ``args`` if their number is right.

    Raises:
        UnpicklingError: it is not.
    """
    if not least <= len(args) <= most:
        raise pickle.UnpicklingError(f"a call with {len(args)} arguments")
    return args


def is_text(value: Any, *texts: str) -> bool:
    """Whether ``value`` is one of ``texts``; anything but text is not even compared."""
    return type(value) is str and value in texts


def latin_bytes(text: str, budget: Budget) -> bytes:
    """Return the bytes that a text stands for, each the number of a character.

    Raises:
        UnpicklingError: there is a character beyond them.
    """
    budget.spend_bytes(len(text))
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise pickle.UnpicklingError("data that are no bytes") from error


def type_of(value: Any) -> str:
    """Name the type of something in a pickle; the value itself may be endless."""
    return type(value).__name__


class Machine:
    """Runs one pickle.

    Args:
        file: positioned at the pickle.
        budget: bounds what the pickle can make.
        find: (module, name) -> a ``Function`` or ``Inert``.
        outside: what a persistent id stands for; None where there is nothing outside.
    """

    def __init__(
        self,
        file: BinaryIO,
        budget: Budget,
        find: Callable[[str, str], Any],
        outside: Callable[[Any], Any] | None = None,
    ) -> None:
        self._file = file
        self._budget = budget
        self._find = find
        self._outside = outside

        # a mark puts the stack aside and begins a new one
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return what the pickle makes.

        Raises:
            UnpicklingError: it is damaged, or asks for anything but plain data.
            OSError: the file cannot be read.
        """
        read = self._file.read
        opcodes = _OPCODES
        while True:
            code = read(1)
            if code == b".":
                return self._pop()

            step = opcodes.get(code)
            if step is None:
                raise _unknown(code)
            step(self)

    # reading

    def _read(self, count: int) -> bytes:
        if count > self._budget.size:
            size = self._budget.size
            raise pickle.UnpicklingError(f"{count} bytes announced in a file of {size}")

        data = self._file.read(count)
        if len(data) != count:
            raise pickle.UnpicklingError("it ends too early")
        return data

    def _read_size(self, width: int) -> int:
        return int.from_bytes(self._read(width), "little")

    def _read_line(self, longest: int = _LONGEST_LINE) -> bytes:
        line = self._file.readline(longest + 1)
        if not line.endswith(b"\n"):
            raise pickle.UnpicklingError("a line that does not end")
        return line[:-1]

    # the stack

    def _pop(self) -> Any:
        if not self._stack:
            raise pickle.UnpicklingError("it takes a value where there is none")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise pickle.UnpicklingError("it uses a value where there is none")
        return self._stack[-1]

    def _pop_items(self) -> list[Any]:
        """Return what is above the last mark."""
        if not self._below:
            raise pickle.UnpicklingError("it goes back to a mark where there is none")
        items = self._stack
        self._stack = self._below.pop()
        return items

    def _mark(self) -> None:
        if len(self._below) >= _MOST_MARKS:
            raise pickle.UnpicklingError(f"nested more than {_MOST_MARKS} deep")
        self._below.append(self._stack)
        self._stack = []

    def _pop_one(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_items()

    def _duplicate(self) -> None:
        self._stack.append(self._top())

    # the memo

    def _put(self, key: int) -> None:
        if not 0 <= key < _LARGEST_MEMO:
            raise pickle.UnpicklingError("a place in the memo that is no number")

        value = self._top()
        self._budget.spend_objects()
        self._memo[key] = value
        if isinstance(value, Unfinished):
            value.memo_keys.append(key)

    def _get(self, key: int) -> None:
        if key not in self._memo:
            raise pickle.UnpicklingError("it takes from the memo what was never put there")
        self._stack.append(self._memo[key])

    def _put_line(self) -> None:
        self._put(self._parse_int(self._read_line()))

    def _get_line(self) -> None:
        self._get(self._parse_int(self._read_line()))

    def _memoize(self) -> None:
        self._put(len(self._memo))

    # numbers and text

    def _parse_int(self, text: bytes) -> int:
        try:
            return int(text)
        except ValueError as error:
            raise pickle.UnpicklingError("a number that is none") from error

    def _int_line(self) -> None:
        """Protocol 0 writes truth values as numbers of two digits."""
        line = self._read_line()
        truths = {b"00": False, b"01": True}
        if line in truths:
            self._stack.append(truths[line])
            return
        self._stack.append(self._parse_int(line))

    def _long_line(self) -> None:
        line = self._read_line()
        self._stack.append(self._parse_int(line.removesuffix(b"L")))

    def _long(self, width: int) -> None:
        count = self._read_size(width)
        if count > _LONGEST_INT:
            raise pickle.UnpicklingError(f"a number of {count} bytes")
        data = self._read(count)
        self._stack.append(int.from_bytes(data, "little", signed=True))

    def _float_line(self) -> None:
        line = self._read_line()
        try:
            value = float(line)
        except ValueError as error:
            raise pickle.UnpicklingError("a number that is none") from error
        self._stack.append(value)

    def _float(self) -> None:
        self._stack.append(_DOUBLE.unpack(self._read(8))[0])

    def _string_line(self) -> None:
        """Read a str of Python 2: quoted, with escapes."""
        line = self._read_line(self._budget.size).strip()
        quoted = len(line) >= 2 and line[:1] == line[-1:] and line[:1] in b"\"'"
        if not quoted:
            raise pickle.UnpicklingError("text without quotes")

        try:
            data, _ = codecs.escape_decode(line[1:-1])
        except ValueError as error:
            raise pickle.UnpicklingError("text with a wrong escape") from error
        self._stack.append(data.decode("latin-1"))

    def _text_line(self) -> None:
        line = self._read_line(self._budget.size)
        self._stack.append(_decode(line, "raw-unicode-escape"))

    def _text(self, width: int) -> None:
        data = self._read(self._read_size(width))
        self._stack.append(_decode(data, "utf-8"))

    def _old_text(self, width: int) -> None:
        """Read a str of Python 2, which are bytes: each as the character of its number."""
        data = self._read(self._read_size(width))
        self._stack.append(data.decode("latin-1"))

    def _bytes(self, width: int) -> None:
        self._stack.append(self._read(self._read_size(width)))

    # containers

    def _empty_list(self) -> None:
        self._budget.spend_objects()
        self._stack.append([])

    def _empty_dict(self) -> None:
        self._budget.spend_objects()
        self._stack.append({})

    def _empty_set(self) -> None:
        self._budget.spend_objects(3)
        self._stack.append(set())

    def _list(self) -> None:
        self._budget.spend_objects()
        items = self._pop_items()
        self._stack.append(items)

    def _tuple(self) -> None:
        self._budget.spend_objects()
        items = self._pop_items()
        self._stack.append(tuple(items))

    def _short_tuple(self, count: int) -> None:
        self._budget.spend_objects()
        if len(self._stack) < count:
            raise pickle.UnpicklingError("a tuple of values that are not there")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def _dict(self) -> None:
        self._budget.spend_objects()
        made: dict[Any, Any] = {}
        self._set_items(made, self._pop_items())
        self._stack.append(made)

    def _frozenset(self) -> None:
        self._budget.spend_objects(3)
        items = self._pop_items()
        check_keys(items, self._budget)
        self._stack.append(frozenset(items))

    def _append(self) -> None:
        value = self._pop()
        self._extend(self._top(), [value])

    def _appends(self) -> None:
        items = self._pop_items()
        self._extend(self._top(), items)

    def _extend(self, target: Any, items: list[Any]) -> None:
        if type(target) is list:
            target += items
        elif not isinstance(target, Inert):
            raise pickle.UnpicklingError(f"it appends to a {type_of(target)}")

    def _set_item(self) -> None:
        value = self._pop()
        key = self._pop()
        self._set_items(self._top(), [key, value])

    def _set_many(self) -> None:
        items = self._pop_items()
        self._set_items(self._top(), items)

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, Inert):
            return
        if type(target) is not dict:
            raise pickle.UnpicklingError(f"it sets an item of a {type_of(target)}")
        if len(items) % 2:
            raise pickle.UnpicklingError("a dictionary with a key that has no value")

        keys = items[::2]
        check_keys(keys, self._budget)
        target.update(zip(keys, items[1::2], strict=True))

    def _add_many(self) -> None:
        items = self._pop_items()
        target = self._top()
        if type(target) is set:
            check_keys(items, self._budget)
            target.update(items)
        elif not isinstance(target, Inert):
            raise pickle.UnpicklingError(f"it adds to a {type_of(target)}")

    # names and calls

    def _global_line(self) -> None:
        module = _decode(self._read_line(), "utf-8")
        name = _decode(self._read_line(), "utf-8")
        self._stack.append(self._find(module, name))

    def _stack_global(self) -> None:
        name = self._pop()
        module = self._pop()
        if type(name) is not str or type(module) is not str:
            raise pickle.UnpicklingError("a name that is no text")
        self._stack.append(self._find(module, name))

    def _reduce(self) -> None:
        args = self._pop()
        function = self._pop()
        self._call(function, args)

    def _new(self) -> None:
        """Make an object of a class; none that is known here is made like this."""
        self._pop()
        self._make(self._pop())

    def _new_with_keywords(self) -> None:
        self._pop()
        self._new()

    def _instance(self) -> None:
        module = _decode(self._read_line(), "utf-8")
        name = _decode(self._read_line(), "utf-8")
        args = tuple(self._pop_items())
        self._call(self._find(module, name), args)

    def _object(self) -> None:
        items = self._pop_items()
        if not items:
            raise pickle.UnpicklingError("an object of no class")
        self._call(items[0], tuple(items[1:]))

    def _make(self, kind: Any) -> None:
        if not isinstance(kind, Inert):
            raise pickle.UnpicklingError(f"it makes an object of a {type_of(kind)}")
        self._stack.append(Inert())

    def _call(self, function: Any, args: Any) -> None:
        if isinstance(function, Inert):
            self._stack.append(Inert())
            return
        if type(function) is not Function or type(args) is not tuple:
            raise pickle.UnpicklingError(f"it calls a {type_of(function)}")
        self._stack.append(function.call(self._budget, args))

    def _build(self) -> None:
        """Give an object its state."""
        state = self._pop()
        target = self._top()
        if isinstance(target, Inert) or type(target) is dict:
            return  # attributes of a dictionary, such as torch's, are no data
        if isinstance(target, Function):
            raise pickle.UnpicklingError("it tries to change a function")
        if not isinstance(target, Unfinished) or target.done:
            raise pickle.UnpicklingError(f"it sets the state of a {type_of(target)} once more")

        target.done = True
        value = target.finish(state, self._budget)

        # wherever else it was used already, it stays unfinished and is refused in the end
        self._stack[-1] = value
        for key in target.memo_keys:
            if self._memo[key] is target:
                self._memo[key] = value

    def _persistent_line(self) -> None:
        self._load_outside(_decode(self._read_line(), "ascii"))

    def _persistent(self) -> None:
        self._load_outside(self._pop())

    def _load_outside(self, key: Any) -> None:
        if self._outside is None:
            raise NotPlainError("it refers to data outside of the file")
        self._stack.append(self._outside(key))

    def _extension(self) -> None:
        raise NotPlainError("it uses the extension registry of another program")

    def _buffer(self) -> None:
        raise NotPlainError("its arrays are not in the file (protocol 5 with buffers outside)")

    # the stream

    def _protocol(self) -> None:
        version = self._read_size(1)
        if version > pickle.HIGHEST_PROTOCOL:
            raise NotPlainError(f"it is of protocol {version}, newer than is known")

    def _frame(self) -> None:
        """Skip the size of a frame: how a file is cut into parts does not change its content."""
        self._read(8)


_DOUBLE = struct.Struct(">d")
_SIGNED = struct.Struct("<i")


def _decode(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec, "surrogatepass" if codec == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        raise pickle.UnpicklingError(f"text that is not {codec}") from error


def _unknown(code: bytes) -> pickle.UnpicklingError:
    if not code:
        return pickle.UnpicklingError("it ends too early")
    return pickle.UnpicklingError(f"an unknown opcode {code!r}")


def check_keys(keys: Iterable[Any], budget: Budget) -> None:
    """Refuse dictionary keys and set members that are not text, numbers or short tuples.

    The hash of nested tuples is computed by recursion, which can end the process. Numbers of equal
    hash are easily made, and make a dictionary slow; there are few of them below 2 ** 64.

    Raises:
        UnpicklingError: one is something else.
    """
    for key in keys:
        if type(key) is str:
            continue
        if type(key) is tuple:
            _check_tuple_key(key, budget)
        else:
            _check_plain_key(key)


def _check_tuple_key(key: Args, budget: Budget) -> None:
    if len(key) > _LONGEST_KEY:
        raise pickle.UnpicklingError(f"a key of {len(key)} parts")
    for part in key:
        _check_plain_key(part)

    # those of text alone have hashes that cannot be foreseen
    only_text = all(type(part) is str for part in key)
    if not only_text:
        budget.spend_tuple_key()


def _check_plain_key(key: Any) -> None:
    kind = type(key)
    if kind is int:
        if not -_LARGEST_KEY < key < _LARGEST_KEY:
            raise pickle.UnpicklingError("a key that is too large a number")
        return
    if kind not in _PLAIN and not isinstance(key, np.generic | Inert):
        raise pickle.UnpicklingError(f"a {kind.__name__} as a key")


def _push(value: Any) -> Callable[[Machine], None]:
    """Return an opcode that pushes one value that nothing can change."""
    return lambda machine: machine._stack.append(value)


def _push_size(width: int) -> Callable[[Machine], None]:
    """Return an opcode that pushes a number written in ``width`` bytes."""
    return lambda machine: machine._stack.append(machine._read_size(width))


def _push_signed(machine: Machine) -> None:
    value = _SIGNED.unpack(machine._read(4))[0]
    machine._stack.append(value)


_OPCODES: dict[bytes, Callable[[Machine], None]] = {
    # numbers and text
    pickle.NONE: _push(None),
    pickle.NEWTRUE: _push(True),
    pickle.NEWFALSE: _push(False),
    pickle.INT: Machine._int_line,
    pickle.BININT: _push_signed,
    pickle.BININT1: _push_size(1),
    pickle.BININT2: _push_size(2),
    pickle.LONG: Machine._long_line,
    pickle.LONG1: lambda machine: machine._long(1),
    pickle.LONG4: lambda machine: machine._long(4),
    pickle.FLOAT: Machine._float_line,
    pickle.BINFLOAT: Machine._float,
    pickle.STRING: Machine._string_line,
    pickle.BINSTRING: lambda machine: machine._old_text(4),
    pickle.SHORT_BINSTRING: lambda machine: machine._old_text(1),
    pickle.UNICODE: Machine._text_line,
    pickle.SHORT_BINUNICODE: lambda machine: machine._text(1),
    pickle.BINUNICODE: lambda machine: machine._text(4),
    pickle.BINUNICODE8: lambda machine: machine._text(8),
    pickle.SHORT_BINBYTES: lambda machine: machine._bytes(1),
    pickle.BINBYTES: lambda machine: machine._bytes(4),
    pickle.BINBYTES8: lambda machine: machine._bytes(8),
    pickle.BYTEARRAY8: lambda machine: machine._bytes(8),  # which nothing may change either
    # containers
    pickle.EMPTY_LIST: Machine._empty_list,
    pickle.LIST: Machine._list,
    pickle.APPEND: Machine._append,
    pickle.APPENDS: Machine._appends,
    pickle.EMPTY_TUPLE: _push(()),
    pickle.TUPLE: Machine._tuple,
    pickle.TUPLE1: lambda machine: machine._short_tuple(1),
    pickle.TUPLE2: lambda machine: machine._short_tuple(2),
    pickle.TUPLE3: lambda machine: machine._short_tuple(3),
    pickle.EMPTY_DICT: Machine._empty_dict,
    pickle.DICT: Machine._dict,
    pickle.SETITEM: Machine._set_item,
    pickle.SETITEMS: Machine._set_many,
    pickle.EMPTY_SET: Machine._empty_set,
    pickle.ADDITEMS: Machine._add_many,
    pickle.FROZENSET: Machine._frozenset,
    # the stack and the memo
    pickle.MARK: Machine._mark,
    pickle.POP: Machine._pop_one,
    pickle.POP_MARK: lambda machine: _ignore(machine._pop_items()),
    pickle.DUP: Machine._duplicate,
    pickle.PUT: Machine._put_line,
    pickle.BINPUT: lambda machine: machine._put(machine._read_size(1)),
    pickle.LONG_BINPUT: lambda machine: machine._put(machine._read_size(4)),
    pickle.MEMOIZE: Machine._memoize,
    pickle.GET: Machine._get_line,
    pickle.BINGET: lambda machine: machine._get(machine._read_size(1)),
    pickle.LONG_BINGET: lambda machine: machine._get(machine._read_size(4)),
    # names and calls
    pickle.GLOBAL: Machine._global_line,
    pickle.STACK_GLOBAL: Machine._stack_global,
    pickle.REDUCE: Machine._reduce,
    pickle.NEWOBJ: Machine._new,
    pickle.NEWOBJ_EX: Machine._new_with_keywords,
    pickle.INST: Machine._instance,
    pickle.OBJ: Machine._object,
    pickle.BUILD: Machine._build,
    pickle.PERSID: Machine._persistent_line,
    pickle.BINPERSID: Machine._persistent,
    pickle.EXT1: Machine._extension,
    pickle.EXT2: Machine._extension,
    pickle.EXT4: Machine._extension,
    pickle.NEXT_BUFFER: Machine._buffer,
    pickle.READONLY_BUFFER: Machine._buffer,
    # the stream
    pickle.PROTO: Machine._protocol,
    pickle.FRAME: Machine._frame,
}


def _ignore(_: Any) -> None: ...
