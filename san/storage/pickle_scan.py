"""The pickle of a checkpoint, checked without executing it.

``torch.load(weights_only=True)`` runs no code of a file. However, it calls ``bytearray`` and codecs with arguments of
the file, and accepts containers that hold each other twice, level by level: a walk of them takes exponential time.
"""

import pickletools
from dataclasses import dataclass
from typing import Any

__all__ = ["refuse_excess"]

MAX_VALUES = 3 * 10**6  # instructions; also values, if a shared container counts at each of its places
MAX_DEPTH = 50  # containers around a value
TEXT_OF_ONE_VALUE = 100  # characters of a text that count as one more value
REBUILDERS = ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter")
ORDERED_DICT = "collections OrderedDict"
DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16",
    "uint8", "bool", "complex64", "complex128",
)  # fmt: skip
STORAGES = (
    "Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "ComplexFloat",
    "ComplexDouble",
)  # fmt: skip
GLOBALS = frozenset(
    [ORDERED_DICT, *REBUILDERS, "torch.storage UntypedStorage"]
    + [f"torch {name}" for name in DTYPES]
    + [f"torch {name}Storage" for name in STORAGES]
)
INTEGERS = ("BININT", "BININT1", "BININT2")  # of 32 bits: longer ones can have equal hashes, which make a slow dict
NUMBERS = ("BINFLOAT", "LONG1", "NEWTRUE", "NEWFALSE")
EMPTY = {"EMPTY_DICT": "dict", "EMPTY_LIST": "list", "EMPTY_TUPLE": "tuple"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(slots=True)
class _Value:
    """A value: its kind, or the name of a global; the number of values in it, and of containers around the deepest."""

    kind: str
    size: int = 1
    depth: int = 0
    is_complete: bool = False


# One value of each kind is enough, because nothing is put into it.
_PLAIN_VALUES = {
    **dict.fromkeys(INTEGERS, _Value("integer")),
    **dict.fromkeys(NUMBERS, _Value("number")),
    "NONE": _Value("nothing"),
}


def refuse_excess(pickled: bytes) -> None:
    """Refuse a pickle with anything but plain data and tensors, or with too many values.

    The instructions move values between a stack and a memo, as in unpickling, but only the size of a value is computed.
    A container that is fetched from the memo cannot grow any more: its size is exact, and no container holds itself.

    Args:
        pickled: A pickle that is written by ``torch.save``.

    Raises:
        ValueError: If another object is named or called, or there are too many values or levels.
        IndexError: If the pickle is damaged; ``pickletools`` raises other errors, too.
    """
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
        if count > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values")
        machine.step(opcode.name, argument)


class _Machine:
    """The stack and the memo of unpickling."""

    def __init__(self) -> None:
        self.stack: list[_Value] = []
        self.outer: list[list[_Value]] = []
        self.memo: dict[int, _Value] = {}

    def step(self, name: str, argument: Any) -> None:
        """Execute an instruction."""
        plain = _PLAIN_VALUES.get(name)
        if plain is not None:
            self.stack.append(plain)
        elif name in EMPTY:
            self.stack.append(_Value(EMPTY[name], depth=1))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            value = self.memo[argument]
            value.is_complete = True
            self.stack.append(value)
        elif name == "BINUNICODE":
            self.stack.append(_Value("text", 1 + len(argument) // TEXT_OF_ONE_VALUE))
        elif name == "MARK":
            self.outer.append(self.stack)
            self.stack = []
        elif name in ("SETITEMS", "SETITEM"):
            items = self._popped(2 if name == "SETITEM" else None)
            if any(key.kind not in ("text", "integer") for key in items[::2]):
                raise ValueError("it has a key that is neither a text nor an integer of 32 bits")
            self._fill(items, ("dict", ORDERED_DICT))
        elif name in ("APPENDS", "APPEND"):
            self._fill(self._popped(1 if name == "APPEND" else None), ("list",))
        elif name == "TUPLE" or name in TUPLES:
            items = self._popped(TUPLES.get(name))
            self.stack.append(_Value("tuple", depth=1))
            self._fill(items, ("tuple",))
        else:
            self._step_of_tensor(name, argument)

    def _step_of_tensor(self, name: str, argument: Any) -> None:
        """Execute one of the instructions that build a tensor or an ordered dictionary."""
        if name == "GLOBAL":
            if argument not in GLOBALS:
                raise ValueError(f"it names {argument.replace(' ', '.')}")
            self.stack.append(_Value(argument))
        elif name == "BINPERSID":
            (place,) = self._popped(1)
            self.stack.append(_Value("storage", place.size))
        elif name == "REDUCE":
            called, arguments = self._popped(2)
            if called.kind in REBUILDERS:
                self.stack.append(_Value("tensor", called.size + arguments.size))
            elif called.kind == ORDERED_DICT and arguments.size == 1:
                self.stack.append(_Value(ORDERED_DICT, depth=1))
            else:
                raise ValueError(f"it calls {called.kind}")
        elif name == "BUILD":
            self._fill(self._popped(1), (ORDERED_DICT,))
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"it has the instruction {name}")

    def _popped(self, count: int | None) -> list[_Value]:
        """Take the topmost values, or all since the last mark, off the stack."""
        if count is None:
            items, self.stack = self.stack, self.outer.pop()
            return items
        if len(self.stack) < count:
            raise IndexError("a value is missing")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _fill(self, items: list[_Value], kinds: tuple[str, ...]) -> None:
        """Put values into the container on top of the stack."""
        container = self.stack[-1]
        if container.kind not in kinds or container.is_complete:
            raise ValueError(f"it adds values to a {container.kind}")
        container.size += sum(item.size for item in items)
        container.depth = max([container.depth, *(item.depth + 1 for item in items)])
        if container.size > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values")
        if container.depth > MAX_DEPTH:
            raise ValueError(f"it has more than {MAX_DEPTH} levels")
