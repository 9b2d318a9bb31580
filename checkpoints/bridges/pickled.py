"""Reads the data in a pickle of protocol 2 without executing it, by an interpreter that calls nothing.

Python's `Unpickler` can also be restricted, with a `find_class` that refuses names. But it still calls the allowed classes,
sets attributes, hashes any object that a file uses as a key, accepts about seventy opcodes up to protocol 5, and allocates
memory for a declared length before it has read the bytes. It is safe only if each allowed class is safe with any arguments
and any state. This interpreter calls nothing: an object stays a name with arguments and a state, to be inspected; only the
thirty opcodes that `torch.save` writes are accepted; and each length is first compared with the bytes that remain.

Names of classes and functions that are not in a list are refused as soon as they occur, whether they are used or not.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

# A policy with two image encoders, without the optimiser's state, takes 132 kB, 26 000 instructions and 15 nested marks.
PICKLE_BYTES = 8 * 2**20
MOST_INSTRUCTIONS = 1_000_000
MOST_NESTED = 200
_INTEGER_BYTES = 8
_NAME_BYTES = 256

Maker = Callable[[tuple[Any, ...]], Any]


@dataclass(frozen=True)
class PickledName:
    """The name of a class or function, which is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Inert:
    """The description of an object that was not created.

    Attributes:
        of: its class, or the function that would have made it.
        arguments: the arguments of that call.
        state: the state that would have been set.
    """

    of: PickledName
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickle(raw: bytes, known: Mapping[PickledName, Maker | None], stored: Callable[[Any], Any]) -> Any:
    """Reads a pickle as None, booleans, numbers, strings, lists, tuples, dicts, `PickledName` and `Inert`.

    Args:
        raw: the pickle.
        known: the allowed names. Each has a function of our own that makes a value from any tuple of arguments, or raises
            ValueError; with `None` the result is an `Inert`.
        stored: returns the value for a persistent id, which refers to data outside the pickle.

    Raises:
        ValueError: an instruction, name or value is not allowed, the pickle is too large, or it is truncated.
    """
    if len(raw) > PICKLE_BYTES:
        raise ValueError(f"its pickle has {len(raw)} bytes; at most {PICKLE_BYTES} are read")
    return _Interpreter(raw, known, stored).run()


class _Interpreter:
    """Interprets one pickle; the opcodes are those of Python's module `pickletools`."""

    def __init__(self, raw: bytes, known: Mapping[PickledName, Maker | None], stored: Callable[[Any], Any]):
        self._raw, self._known, self._stored = raw, known, stored
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        if self._take(2) != b"\x80\2":
            raise ValueError("its pickle is not of protocol 2, which torch.save writes")
        for _ in range(MOST_INSTRUCTIONS):
            letter = self._take(1)
            if letter == b".":
                if self._marks or len(self._stack) != 1 or self._at != len(self._raw):
                    raise ValueError("its pickle does not end where it should")
                return self._stack[0]
            if (do := _INSTRUCTIONS.get(letter)) is None:
                raise ValueError(f"its pickle has the instruction {letter!r}, which torch.save does not write")
            do(self)
        raise ValueError(f"its pickle has more than {MOST_INSTRUCTIONS} instructions")

    def _take(self, count: int) -> bytes:
        found = self._raw[self._at : self._at + count]
        if len(found) < count:
            raise ValueError("its pickle is cut short")
        self._at += count
        return found

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        end = self._raw.find(b"\n", self._at, self._at + _NAME_BYTES)
        if end < 0:
            raise ValueError("its pickle has a name without an end")
        return _text(self._take(end + 1 - self._at)[:-1])

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack:
            raise ValueError("its pickle takes a value that is not there")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise ValueError("its pickle takes a value that is not there")
        return self._stack[-1]

    def _since_mark(self) -> list[Any]:
        if not self._marks:
            raise ValueError("its pickle takes values that are not there")
        found, self._stack = self._stack, self._marks.pop()
        return found

    def mark(self) -> None:
        if len(self._marks) >= MOST_NESTED:
            raise ValueError(f"its pickle is nested more than {MOST_NESTED} deep")
        self._marks.append(self._stack)
        self._stack = []

    def number(self, form: str) -> None:
        self._push(self._number(form))

    def long(self) -> None:
        if (length := self._number("<B")) > _INTEGER_BYTES:
            raise ValueError(f"its pickle has a whole number of {length} bytes; at most {_INTEGER_BYTES} are read")
        self._push(int.from_bytes(self._take(length), "little", signed=True))

    def text(self) -> None:
        self._push(_text(self._take(self._number("<I"))))

    def sequence(self, count: int) -> None:
        found = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(found)))

    def tuple_since_mark(self) -> None:
        found = tuple(self._since_mark())
        self._push(found)

    def append(self) -> None:
        value = self._pop()
        self._list().append(value)

    def appends(self) -> None:
        values = self._since_mark()
        self._list().extend(values)

    def _list(self) -> list[Any]:
        return self._top() if isinstance(self._top(), list) else _refuse("appends to something that is not a list")

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def set_items(self) -> None:
        self._set(self._since_mark())

    def _set(self, pairs: list[Any]) -> None:
        target = self._top() if isinstance(self._top(), dict) else _refuse("sets keys of something that is not a dict")
        if len(pairs) % 2:
            _refuse("has a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # Hashing other keys can take forever, such as tuples nested so that each contains the next one twice.
            if type(key) not in (str, int):
                _refuse(f"has a key that is neither text nor whole number, but {type(key).__name__}")
            target[key] = value

    def put(self, form: str) -> None:
        self._memo[self._number(form)] = self._top()

    def get(self, form: str) -> None:
        if (number := self._number(form)) not in self._memo:
            _refuse("reads a memo entry that it did not write")
        self._push(self._memo[number])

    def name(self) -> None:
        found = PickledName(self._line(), self._line())
        if found not in self._known:
            raise ValueError(f"it names {str(found)!r:.120}, which no supported policy needs: refused before anything ran")
        self._push(found)

    def make(self) -> None:
        """Handles a new object or a call, which are the same for an interpreter that does neither."""
        arguments, of = self._pop(), self._pop()
        if not isinstance(of, PickledName) or not isinstance(arguments, tuple):
            _refuse("calls something that is not a function")
        maker = self._known[of]
        self._push(Inert(of, arguments) if maker is None else maker(arguments))

    def build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Inert) and target.state is None:
            target.state = state
        elif not isinstance(target, dict):  # an ordered dict of weights has the modules' versions as an attribute
            _refuse("sets the state of something that is not an object")

    def elsewhere(self) -> None:
        self._push(self._stored(self._pop()))


_INSTRUCTIONS: dict[bytes, Callable[[_Interpreter], None]] = {
    b"(": _Interpreter.mark,
    b"N": lambda run: run._push(None),
    b"\x88": lambda run: run._push(True),
    b"\x89": lambda run: run._push(False),
    b"J": lambda run: run.number("<i"),
    b"K": lambda run: run.number("<B"),
    b"M": lambda run: run.number("<H"),
    b"\x8a": _Interpreter.long,
    b"G": lambda run: run.number(">d"),
    b"X": _Interpreter.text,
    b")": lambda run: run.sequence(0),
    b"\x85": lambda run: run.sequence(1),
    b"\x86": lambda run: run.sequence(2),
    b"\x87": lambda run: run.sequence(3),
    b"t": _Interpreter.tuple_since_mark,
    b"]": lambda run: run._push([]),
    b"a": _Interpreter.append,
    b"e": _Interpreter.appends,
    b"}": lambda run: run._push({}),
    b"s": _Interpreter.set_item,
    b"u": _Interpreter.set_items,
    b"q": lambda run: run.put("<B"),
    b"r": lambda run: run.put("<I"),
    b"h": lambda run: run.get("<B"),
    b"j": lambda run: run.get("<I"),
    b"c": _Interpreter.name,
    b"R": _Interpreter.make,
    b"\x81": _Interpreter.make,
    b"b": _Interpreter.build,
    b"Q": _Interpreter.elsewhere,
}


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError("its pickle has invalid text") from None


def _refuse(what: str) -> NoReturn:
    raise ValueError(f"its pickle {what}")
