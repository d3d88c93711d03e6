"""Export a PyTorch network as a program of operators without side effects.

``torch.export`` traces the network. Known operators are kept as they are, because decompositions lose information: core
ATen writes ``silu`` as sigmoid and product, and ``linear`` as transposition and product. The program is rewritten only
if it writes into views or has unknown operators: in-place operations become functional ones, and unknown operators are
decomposed. Only shapes are computed, no values.
"""

from __future__ import annotations

import contextlib
import functools
import io
import linecache
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import GraphError
from autobuild.graphs.torch_objects import tensors_alone
from autobuild.graphs.torch_operators import FILLS, RANDOM, is_known, operator_name

if TYPE_CHECKING:
    import torch
    from torch import nn

_HOLDER = "held_network"
_PAST_THE_TRACER = "fake tensor in the exported program constant"
Example = Any  # a tensor, a tuple of tensors, a dict of keyword arguments, or the shape of one picture


def program_of(model: nn.Module, example: Example) -> torch.export.ExportedProgram:
    """Trace a network without changing it.

    Raises:
        GraphError: The network does not run on the example, or cannot be traced.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensor

    if isinstance(model, torch.jit.ScriptModule):
        raise GraphError(f"{type(model).__name__} could not be traced: it is compiled by torch.jit; give graph_of the "
                         "module from which it was made, or an ONNX file of it")  # fmt: skip
    positional, keywords = _arguments(model, example)
    with _evaluation_mode(model), _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with tensors_alone(model, positional, keywords) as given:
                program = torch.export.export(_held(model), *given, strict=False)
            if any(isinstance(constant, FakeTensor) for constant in program.constants.values()):
                raise RuntimeError(_PAST_THE_TRACER)  # as PyTorch does from version 2.10 on
            for node in program.graph.nodes:
                check_fixed_shapes(node)
            return program.run_decompositions(_decompositions()) if _has_to_be_rewritten(program) else program
        except GraphError as error:
            raise GraphError(f"{type(model).__name__}: {error}") from error
        except Exception as error:  # tracing runs the code of the network, which may raise any exception
            raise GraphError(_told(model, error)) from error


def check_fixed_shapes(node: torch.fx.Node) -> None:
    """Raise GraphError where values of data decide on the shape of what comes out."""
    import torch

    values = node.meta.get("val")
    for value in values if isinstance(values, list | tuple) else [values]:
        if isinstance(value, torch.Tensor) and any(isinstance(size, torch.SymInt) for size in value.shape):
            line = line_of(node)
            raise GraphError(f"{node.target}{f' at {line}' if line else ''}: the shape of its result depends on the "
                             "values of data; an operation graph needs fixed shapes, give graph_of a network without "
                             "it")  # fmt: skip


def line_of(node: torch.fx.Node) -> str:
    """Line of the network's code that calls an operator: ``"net.py:12 (y = x[x > 0])"``; empty if unknown."""
    lines = [line.strip() for line in str(node.meta.get("stack_trace") or "").splitlines()]
    places = [i for i, line in enumerate(lines) if line.startswith('File "') and not line.startswith('File "<')]
    if not places:
        return ""
    file, number, *_ = lines[places[-1]].removeprefix('File "').replace('", line ', ",").split(",")
    code = lines[places[-1] + 1] if places[-1] + 1 < len(lines) else ""
    return f"{Path(file).name}:{number.strip()} ({code})"


def writes(node: torch.fx.Node) -> bool:
    """Whether an operator writes into its first argument."""
    schema = getattr(node.target, "_schema", None)
    info = schema.arguments[0].alias_info if schema and schema.arguments else None
    return bool(info and info.is_write and node.args)


def own_name(name: str) -> str:
    """Name of a parameter, buffer or module in the network, from its name in the program."""
    return name.removeprefix(_HOLDER).removeprefix(".")


def _held(model: nn.Module) -> nn.Module:
    """A module with nothing but the network.

    Before version 2.10, PyTorch refuses a network that sets attributes of itself when it runs, as recurrent layers and
    ``spectral_norm`` do, but not one that contains it.
    """
    import torch

    holder = torch.nn.Module()
    holder.add_module(_HOLDER, model)
    holder.forward = functools.wraps(model.forward)(lambda *given, **named: model(*given, **named))
    return holder


def _arguments(model: nn.Module, example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of the call. Shapes become tensors with the device and type of the network."""
    import torch

    first = next((p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()), torch.zeros(()))

    def tensor(value: Any) -> Any:
        if isinstance(value, list | tuple) and value and all(isinstance(size, Integral) for size in value):
            if min(value) < 0:
                raise GraphError(f"{type(model).__name__}: given the shape {tuple(value)}, accepted: sizes from 0")
            return torch.zeros(tuple(map(int, value)), dtype=first.dtype, device=first.device)
        return torch.as_tensor(value) if type(value).__module__ == "numpy" else value

    if isinstance(example, Mapping):
        return (), {str(key): tensor(value) for key, value in example.items()}
    if type(example).__module__ == "numpy" and example.ndim == 1 and example.dtype.kind == "i":
        example = tuple(example)  # a shape
    whole = tensor(example)
    positional = tuple(tensor(value) for value in whole) if isinstance(whole, tuple) else (whole,)
    return positional, {}


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients and without fused attention kernels; the previous state is restored.

    ``nn.Transformer`` compares each mask with a causal one, which is a branch on data; the answer changes no operation.
    """
    import torch
    from torch.nn.modules import transformer

    modes = {module: module.training for module in model.modules()}
    fast: bool = torch.backends.mha.get_fastpath_enabled()
    compares = getattr(transformer, "_detect_is_causal_mask", None)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.suppress(NotImplementedError):  # modules of exported programs have one mode
            model.eval()
        transformer._detect_is_causal_mask = lambda mask, is_causal=None, size=None: bool(is_causal)
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        if compares is not None:
            transformer._detect_is_causal_mask = compares
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what PyTorch logs and prints about a failure; the exception describes it."""
    loggers = [logging.getLogger(f"torch.{name}") for name in
               ("_subclasses.fake_tensor", "fx.experimental.symbolic_shapes")]  # fmt: skip
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
        sys.stderr.write(said.getvalue())
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


@functools.lru_cache(maxsize=1)
def _decompositions() -> dict[Any, Any]:
    """Decompositions by PyTorch of all operators that are not known here."""
    import torch

    table = dict(torch.export.default_decompositions())
    return {operator: how for operator, how in table.items() if not is_known(operator)}


def _has_to_be_rewritten(program: torch.export.ExportedProgram) -> bool:
    """Whether a program has unknown operators or regions, or writes into a tensor of which a view exists.

    A write into a tensor without views, as by ``nn.ReLU(inplace=True)``, simply gives a new value. Tensors that do not
    depend on the input, such as a mask that is filled in, are constants however they are computed.
    """
    inputs = set(program.graph_signature.user_inputs)
    data: set[Any] = set()  # nodes that depend on the input
    seen: set[Any] = set()  # views, the tensors that they view, and inputs
    for node in program.graph.nodes:
        if node.op == "placeholder":
            seen.add(node)
            data |= {node} if node.name in inputs else set()
        if node.op != "call_function":
            continue
        base = operator_name(node.target)
        depends = base in RANDOM or any(arg in data for arg in node.all_input_nodes)
        if _takes_item(node):
            seen |= {node} if node.args[0] in seen else set()
            data |= {node} if depends else set()
            continue
        schema = getattr(node.target, "_schema", None)
        if schema is None or (depends and schema.returns and not is_known(node.target)):  # assertions return nothing
            return True
        places = [i for i, arg in enumerate(schema.arguments) if arg.alias_info and arg.alias_info.is_write]
        if depends and places and (places != [0] or not node.args or node.args[0] in seen):
            return True
        if is_view(node):
            seen |= {node, *node.all_input_nodes}
        if depends and base not in FILLS:
            data |= {node, node.args[0]} if places else {node}
    return False


def is_view(node: torch.fx.Node) -> bool:
    """Whether the result of an operator is a view of its argument."""
    if _takes_item(node):
        return True
    schema = getattr(node.target, "_schema", None)
    looks_at = schema and any(arg.alias_info and not arg.alias_info.is_write for arg in schema.arguments)
    base = operator_name(node.target)
    return bool(looks_at or "dropout" in base or base == "type_as")  # these may return their input


def _takes_item(node: torch.fx.Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _told(model: nn.Module, error: Exception) -> str:
    """Error message: what went wrong, in which line of the network's code, at which operator."""
    name = type(model).__name__
    place, operator = _origin(error)
    where = (f" at {place}" if place else "") + (f", in {operator}" if operator else "")
    kind, said = type(error).__name__, " ".join(str(error).split())[:400]
    depends = ("DataDependent" in kind or "DynamicOutputShape" in kind or "Could not guard on data" in said
               or (kind == "TypeError" and "FakeTensor" in said))  # fmt: skip
    if depends:
        return (f"{name} could not be traced{where}: a shape or a branch there depends on the values of data (what "
                "nonzero, unique or a boolean mask select, or control flow). An operation graph needs fixed shapes: "
                "give graph_of a network without it")  # fmt: skip
    if "__obj_flatten__" in str(error) or "PackedParams" in str(error):
        return (f"{name} could not be traced: it holds packed parameters, as quantised layers do, not tensors; "
                "give graph_of the network before it is quantised")  # fmt: skip
    if _PAST_THE_TRACER in str(error):
        return (f"{name} could not be traced: it reads a parameter past the tracer, as .data does, or takes gradients "
                "in its forward pass; read the parameter itself, or .detach()")  # fmt: skip
    return (f"{name} could not be traced on this example input{where}: {kind}: {said}. torch.export "
            "needs an example that the network accepts, and no control flow that depends on data")  # fmt: skip


def _origin(error: BaseException) -> tuple[str, str]:
    """The innermost line of code outside PyTorch in the traceback, and the operator that was called."""
    import torch

    inside = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")
    library = str(Path(linecache.__file__).parent)  # of Python; packages may lie in a folder of it
    place = operator = ""
    seen: BaseException | None = error
    while seen is not None and not place:
        trace = seen.__traceback__
        while trace is not None:
            file = trace.tb_frame.f_code.co_filename
            if not file.startswith(inside) and (not file.startswith(library) or "site-packages" in file):
                place = f"{Path(file).name}:{trace.tb_lineno} ({linecache.getline(file, trace.tb_lineno).strip()})"
                operator = ""
            elif isinstance(func := trace.tb_frame.f_locals.get("func"), torch._ops.OpOverload):
                operator = operator or str(func)
            trace = trace.tb_next
        seen = seen.__cause__ or seen.__context__
    return place, operator if place else ""
