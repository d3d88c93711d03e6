"""A pickle reader that accepts containers, numbers, strings and numpy arrays, and refuses everything else.

A pickle is a program that names classes and functions and calls them. Here every name is looked up in a short table.
Constructors of numpy are replaced by the Python classes below, so that no state from the file reaches C code of numpy.
"""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from autobuild.errors import LabelError

ADMITTED = "containers, numbers, strings and numpy arrays"
MAX_BYTES = 1 << 30
_KINDS = "biufcSU"  # booleans, numbers and texts; no objects, structures or dates


class _Fixed(type):
    """Metaclass of classes whose attributes cannot be set, because a pickle may try to set them."""

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise TypeError(f"{cls.__name__} cannot be changed")


class _DType(metaclass=_Fixed):
    """Replaces ``numpy.dtype`` while reading; accepts plain numbers and texts only."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or code[:1] not in _KINDS or not code[1:].isdigit():
            raise pickle.UnpicklingError(f"numpy data of type {str(code)[:20]!r} is not admitted")
        self._code, self._order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self._order = state[1] if state[1] in ("<", ">", "|", "=") else "|"

    def decode(self, data: bytes, count: int) -> np.ndarray[Any, Any]:
        """Decode the first ``count`` values of raw bytes."""
        return np.frombuffer(data, dtype=np.dtype(self._order + self._code), count=count)


class _Array(metaclass=_Fixed):
    """Replaces ``numpy.ndarray`` while reading; :func:`plain` converts it to an array."""

    __slots__ = ("_values",)

    def __init__(self, *_: object) -> None:
        self._values: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, "F" if fortran else "C")

    def fill(self, data: Any, dtype: Any, shape: Any, order: Any) -> None:
        """Set the values from raw bytes; numpy checks that there are enough of them."""
        if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("a numpy array of objects is not admitted")
        sizes = tuple(int(size) for size in shape)
        if any(size < 0 for size in sizes):
            raise pickle.UnpicklingError("an array with a negative size")
        values = dtype.decode(bytes(data), int(np.prod(sizes, dtype=object)))
        self._values = values.reshape(sizes, order="F" if order == "F" else "C")

    def plain(self) -> Any:
        """The numpy array."""
        return np.zeros(0) if self._values is None else self._values


class _Reconstruct(metaclass=_Fixed):
    """Replaces ``numpy._core.multiarray._reconstruct(ndarray, shape, code)``: an empty array, filled later."""

    def __new__(cls, *_: object) -> Any:
        return _Array()


class _FromBuffer(metaclass=_Fixed):
    """Replaces ``numpy._core.numeric._frombuffer(data, dtype, shape, order)`` of protocol 5."""

    def __new__(cls, data: Any, dtype: Any, shape: Any, order: Any, *_: object) -> Any:
        array = _Array()
        array.fill(data, dtype, shape, order)
        return array


class _Scalar(metaclass=_Fixed):
    """Replaces ``numpy._core.multiarray.scalar(dtype, data)``; gives a Python number or text."""

    def __new__(cls, dtype: Any, data: Any = b"") -> Any:
        if isinstance(data, str):  # old pickles store bytes as text
            data = data.encode("latin-1")
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("a numpy scalar that is not a number is not admitted")
        return dtype.decode(data, 1)[0].item()


class _Encode(metaclass=_Fixed):
    """Replaces ``_codecs.encode(text, "latin1")``, by which protocols 0 to 2 store bytes; no other codec."""

    def __new__(cls, text: Any, encoding: Any = "utf-8") -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"the encoding {encoding!r} is not admitted")
        return text.encode("latin-1")


class _Bytes(metaclass=_Fixed):
    """Replaces ``bytes`` and ``bytearray``; a number, which would allocate that many bytes, is refused."""

    def __new__(cls, data: Any = b"", encoding: Any = None) -> Any:
        if isinstance(data, str) and encoding in ("latin1", "latin-1"):
            return data.encode("latin-1")
        if not isinstance(data, bytes | bytearray | list | tuple):
            raise pickle.UnpicklingError("bytes are made of bytes only")
        return bytes(data)


_BUILTINS: dict[str, Any] = {
    **{kind.__name__: kind for kind in (bool, complex, dict, float, frozenset, int, list, set, str, tuple)},
    "bytes": _Bytes,
    "bytearray": _Bytes,
}
_NUMPY_FUNCTIONS: dict[tuple[str, str], Any] = {
    ("multiarray", "_reconstruct"): _Reconstruct,
    ("multiarray", "scalar"): _Scalar,
    ("numeric", "_frombuffer"): _FromBuffer,
}


class RestrictedUnpickler(pickle.Unpickler):
    """Reads one pickle; raises LabelError for every name that is not in its table."""

    NAMES: ClassVar[dict[tuple[str, str], Any]] = {
        **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _BUILTINS.items()},
        **{(f"numpy.{core}.{room}", name): kind for core in ("core", "_core")
           for (room, name), kind in _NUMPY_FUNCTIONS.items()},
        ("numpy", "dtype"): _DType,
        ("numpy", "ndarray"): _Array,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _Encode,
    }  # fmt: skip

    def __init__(self, data: bytes, source: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin-1")
        self._source = source

    def find_class(self, module: str, name: str) -> Any:
        """Look up a name in the table; nothing is imported."""
        allowed = self.NAMES.get((module, name))
        if allowed is None:
            raise LabelError(
                f"{self._source}: the pickle asks for {module}.{name}, which is refused: "
                f"{ADMITTED} are admitted, and nothing of the file was used"
            )
        return allowed

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse references to things outside the file."""
        raise LabelError(f"{self._source}: the pickle refers to something outside itself ({str(pid)[:40]!r}): refused")


def read_pickle(path: Path) -> Any:
    """Read a pickle that contains only :data:`ADMITTED`.

    Raises:
        LabelError: The file cannot be read, is not a complete pickle, or refers to anything else, which the message
            names.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabelError(f"{path}: larger than {MAX_BYTES:,} bytes; a cache of architectures has a few million")
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        most = 100_000 + 4 * len(data)
        _check_program(data, most)
        return plain(RestrictedUnpickler(data, str(path)).load(), most)
    except LabelError:
        raise
    except Exception as error:  # a damaged pickle may raise any exception
        reason = str(error) or type(error).__name__
        raise LabelError(f"{path}: not a readable pickle ({reason}); is it truncated?") from error


def _check_program(data: bytes, most: int) -> None:
    """Refuse what would take long before a value is there, by following the stack of the program without running it.

    A memo index too large for a pickle of this length would allocate memory. Hashing a tuple, as a key, walks all of
    it, and one that holds a tuple twice, which holds another twice, is as large as a power of two.

    Raises:
        pickle.UnpicklingError: There is such an index, or a value of more than ``most`` parts.
    """
    stack: list[int | None] = []  # parts of each value; None is a mark
    memo: dict[Any, int] = {}
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "LONG_BINPUT") and (not isinstance(argument, int) or not 0 <= argument <= len(data)):
            raise pickle.UnpicklingError(f"a memo of {argument:,} places")
        if "PUT" in opcode.name or opcode.name == "MEMOIZE":
            memo[len(memo) if argument is None else int(argument)] = (stack[-1:] or [None])[0] or 1
            continue
        taken = list(opcode.stack_before)
        parts = 1
        if pickletools.markobject in taken or (opcode.name == "POP" and stack[-1:] == [None]):
            while stack and (top := stack.pop()) is not None:
                parts += top
            taken = taken[: taken.index(pickletools.markobject)] if pickletools.markobject in taken else []
        parts += sum(stack.pop() or 1 for _ in taken if stack)
        if "GET" in opcode.name:
            parts = memo.get(argument if isinstance(argument, int) else int(str(argument)), 1)
        if parts > most:
            raise pickle.UnpicklingError(f"a value of more than {most:,} parts, many of them the same")
        made = opcode.stack_after
        stack += [None] if made == [pickletools.markobject] else [parts] * len(made)


def plain(value: Any, most: int) -> Any:
    """Replace stand-ins by numpy arrays in nested Python containers.

    Raises:
        pickle.UnpicklingError: The data is nested more than 60 deep (or contains itself), has more than ``most`` parts
            (one that is shared counts wherever it is), or has a stand-in in a wrong place.
    """
    seen = 0

    def walk(value: Any, depth: int) -> Any:
        nonlocal seen
        seen += 1
        if depth > 60 or seen > most:
            raise pickle.UnpicklingError("nested too deep" if depth > 60 else f"a value of more than {most:,} parts")
        if isinstance(value, _Array):
            return value.plain()
        if isinstance(value, dict):
            return {walk(key, depth + 1): walk(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(walk(item, depth + 1) for item in value)
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | set | frozenset):
            return value
        raise pickle.UnpicklingError(f"a {type(value).__name__.strip('_')} where a value is expected")

    return walk(value, 0)
