"""A pickle reader that admits containers, numbers, strings and numpy arrays, and refuses everything else by name.

A pickle is a program: it names classes and functions, and calls them. Here every name is looked up in one short table,
and what stands in the table for numpy's own constructors is written below in Python, so that no state from the file
reaches numpy's C code.
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
_KINDS = "biufcSU"  # booleans, numbers, texts: no objects, no structures, no dates


class _Fixed(type):
    """Classes whose attributes cannot be set: a pickle may try that on whatever it is handed."""

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise TypeError(f"{cls.__name__} cannot be changed")


class _DType(metaclass=_Fixed):
    """Stands for ``numpy.dtype`` while reading; only plain numbers and texts."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or code[:1] not in _KINDS or not code[1:].isdigit():
            raise pickle.UnpicklingError(f"numpy data of type {str(code)[:20]!r} is not admitted")
        self._code, self._order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self._order = state[1] if state[1] in ("<", ">", "|", "=") else "|"

    def decode(self, data: bytes, count: int) -> np.ndarray[Any, Any]:
        """The first ``count`` values of raw bytes."""
        return np.frombuffer(data, dtype=np.dtype(self._order + self._code), count=count)


class _Array(metaclass=_Fixed):
    """Stands for ``numpy.ndarray`` while reading; :func:`plain` turns it into an array."""

    __slots__ = ("_values",)

    def __init__(self, *_: object) -> None:
        self._values: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, "F" if fortran else "C")

    def fill(self, data: Any, dtype: Any, shape: Any, order: Any) -> None:
        """Take values from raw bytes; numpy checks that there are enough of them."""
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
    """``numpy._core.multiarray._reconstruct(ndarray, shape, code)``: an empty array, filled by its state."""

    def __new__(cls, *_: object) -> Any:
        return _Array()


class _FromBuffer(metaclass=_Fixed):
    """``numpy._core.numeric._frombuffer(data, dtype, shape, order)``, of protocol 5."""

    def __new__(cls, data: Any, dtype: Any, shape: Any, order: Any, *_: object) -> Any:
        array = _Array()
        array.fill(data, dtype, shape, order)
        return array


class _Scalar(metaclass=_Fixed):
    """``numpy._core.multiarray.scalar(dtype, data)``: a number or a text of Python's own."""

    def __new__(cls, dtype: Any, data: Any = b"") -> Any:
        if isinstance(data, str):  # as an old pickle has bytes
            data = data.encode("latin-1")
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("a numpy scalar that is no number is not admitted")
        return dtype.decode(data, 1)[0].item()


class _Encode(metaclass=_Fixed):
    """``_codecs.encode(text, "latin1")``: bytes, as protocols 0 to 2 have them. No other codec."""

    def __new__(cls, text: Any, encoding: Any = "utf-8") -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"the encoding {encoding!r} is not admitted")
        return text.encode("latin-1")


class _Bytes(metaclass=_Fixed):
    """``bytes`` and ``bytearray`` of what is there already: of a number they would be that many zeros."""

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
    """Reads one pickle; every name that is not in its table ends the reading."""

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
        """Look a name up in the table; nothing is ever imported."""
        found = self.NAMES.get((module, name))
        if found is None:
            raise LabelError(
                f"{self._source}: the pickle asks for {module}.{name}, which is refused: "
                f"{ADMITTED} are admitted, and nothing of the file was used"
            )
        return found

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse references to things outside the file."""
        raise LabelError(f"{self._source}: the pickle refers to something outside itself ({str(pid)[:40]!r}): refused")


def read_pickle(path: Path) -> Any:
    """Read a pickle of :data:`ADMITTED`.

    Raises:
        LabelError: The file cannot be read, is no whole pickle, or asks for anything else; what it asks for is named.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabelError(f"{path}: larger than {MAX_BYTES:,} bytes; a cache of architectures has a few million")
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        _check_memo(data)
        return plain(RestrictedUnpickler(data, str(path)).load())
    except LabelError:
        raise
    except Exception as error:  # a broken program may fail in any way
        reason = str(error) or type(error).__name__
        raise LabelError(f"{path}: not a readable pickle ({reason}); is it truncated?") from error


def _check_memo(data: bytes) -> None:
    """Refuse places in the memo that no pickle of this length needs: the reader makes room for all before them."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "LONG_BINPUT") and (not isinstance(argument, int) or not 0 <= argument <= len(data)):
            raise pickle.UnpicklingError(f"a memo of {argument:,} places")


def plain(value: Any, depth: int = 0) -> Any:
    """Containers of Python with numpy arrays in them, in place of the stand-ins.

    Raises:
        pickle.UnpicklingError: Nested over 60 deep (or containing itself), or a stand-in where none belongs.
    """
    if depth > 60:
        raise pickle.UnpicklingError("nested too deep")
    if isinstance(value, _Array):
        return value.plain()
    if isinstance(value, dict):
        return {plain(key, depth + 1): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item, depth + 1) for item in value)
    if isinstance(value, set | frozenset) or value is None or isinstance(value, bool | int | float | complex | str):
        return value
    if isinstance(value, bytes):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__.strip('_')} where a value is expected")
