"""Runtimes: ONNX Runtime, eager PyTorch and compiled PyTorch, on the CPU or on a CUDA device.

Each turns a network into a function without arguments that runs one forward pass on a fixed random input and returns
when it is done.
"""

from __future__ import annotations

import copy
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild.cost.latency.machine import describe_machine
from autobuild.errors import AutobuildError, ConfigError, CostError

if TYPE_CHECKING:
    import onnx
    import torch
    from torch import nn

Call = Callable[[], object]
Shape = tuple[int, ...]
OPSET = 18
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def prepare(
    net: nn.Module | onnx.ModelProto, input_shape: Shape, runtime: str = "onnxruntime", device: str = "cpu",
    threads: int = 1,
) -> Call:  # fmt: skip
    """A function that runs one forward pass of a network in float32.

    Args:
        net: A network, which is not changed, or for ``runtime="onnxruntime"`` an ONNX model.
        input_shape: Shape of the input, the batch included.
        runtime: ``onnxruntime`` (all graph optimisations), ``eager`` (PyTorch, batch norms folded, channels-last) or
            ``compiled`` (the same through ``torch.compile``).
        device: ``cpu`` or ``cuda``.
        threads: Threads within an operator, for ONNX Runtime. For PyTorch see :func:`torch_threads`.

    Raises:
        ConfigError: The runtime or device is unknown, or a package is missing.
        CostError: The device is not available, or the network does not accept such an input.
    """
    describe_machine(runtime, device)  # raises if the device is not available
    try:
        if runtime == "onnxruntime":
            model: Any = to_onnx(net, input_shape) if hasattr(net, "forward") else net
            shapes = {value.name: input_shape for value in model.graph.input}
            return session_call(model.SerializeToString(), shapes, device, threads)
        return _torch_call(net, input_shape, device, compiled=runtime == "compiled")
    except AutobuildError:
        raise
    except Exception as error:  # exceptions of the runtime: it does not run this network
        message = " ".join(str(error).split())[:300]
        raise CostError(
            f"{runtime} on {device} does not run this network on inputs {input_shape}: {message}"
        ) from error


def to_onnx(net: nn.Module, input_shape: Shape) -> onnx.ModelProto:
    """Export a network in evaluation mode for one fixed input shape, with folded batch norms.

    The TorchScript exporter is used if this version of PyTorch has it: it is ten times faster than the other one.

    Raises:
        ConfigError: A package for the export is missing.
        CostError: The network does not accept such an input, or cannot be exported.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError("latency needs the package onnx: pip install 'autobuild-nas[onnx]'") from error
    ready = copy.deepcopy(net).eval()
    try:
        with quiet_exporter():
            return onnx.load_from_string(_exported(ready, input_shape))
    except Exception as error:  # the export runs code of the user, which may raise anything
        message = " ".join(str(error).split())[:300]
        raise CostError(f"{type(net).__name__} could not be exported for inputs {input_shape}: {message}") from error


def _exported(net: nn.Module, input_shape: Shape) -> bytes:
    import io

    import torch

    file, example = io.BytesIO(), torch.zeros(input_shape)
    options: dict[str, Any] = {"opset_version": OPSET, "input_names": ["images"], "output_names": ["outputs"]}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    torch.onnx.export(net, (example,), file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def session_call(model: bytes, shapes: Mapping[str, Shape], device: str = "cpu", threads: int = 1) -> Call:
    """A function that runs an ONNX model in ONNX Runtime, with inputs and outputs bound once.

    Args:
        model: The serialised model. Inputs are random float32 numbers; inputs of other types are zeros.
        shapes: Shape of each input.
        device: ``cpu`` or ``cuda``.
        threads: Threads within an operator.

    Raises:
        ConfigError: onnxruntime is missing.
        CostError: This build of onnxruntime has no such device.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("runtime=onnxruntime needs its package: pip install 'autobuild-nas[onnx]'") from error
    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise CostError(f"device={device}: this onnxruntime has {onnxruntime.get_available_providers()}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=[PROVIDERS[device]])
    binding = session.io_binding()
    draw = np.random.default_rng(0)
    for value in session.get_inputs():
        shape = shapes[value.name]
        data = draw.standard_normal(shape).astype(np.float32)
        if value.type != "tensor(float)":
            data = np.zeros(shape, dtype=_numpy_type(value.type))
        binding.bind_ortvalue_input(value.name, onnxruntime.OrtValue.ortvalue_from_numpy(data, device))
    session.run_with_iobinding(_bind_outputs(binding, session, device))
    if device == "cuda":

        def call() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return call
    return lambda: session.run_with_iobinding(binding)


def _bind_outputs(binding: Any, session: Any, device: str) -> Any:
    """Outputs with known shapes are written to the same memory in every pass."""
    import onnxruntime

    for value in session.get_outputs():
        if value.type == "tensor(float)" and all(isinstance(size, int) for size in value.shape):
            output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(value.shape, np.float32, device)
            binding.bind_ortvalue_output(value.name, output)
        else:
            binding.bind_output(value.name, device)
    return binding


def _numpy_type(text: str) -> type:
    inside = text.removeprefix("tensor(").removesuffix(")")
    return {"double": np.float64, "float16": np.float16, "int32": np.int32, "bool": np.bool_}.get(inside, np.int64)


def _torch_call(net: Any, input_shape: Shape, device: str, *, compiled: bool) -> Call:
    import torch

    ready = fold_batch_norms(copy.deepcopy(net).eval()).to(device)
    x = torch.randn(input_shape, generator=torch.Generator().manual_seed(0)).to(device)
    if x.dim() == 4:
        ready = ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = x.contiguous(memory_format=torch.channels_last)
    run: Callable[[torch.Tensor], object] = torch.compile(ready) if compiled else ready

    def call() -> None:
        with torch.inference_mode():
            run(x)
        if device == "cuda":
            torch.cuda.synchronize()

    call()
    return call


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set the number of PyTorch's threads while the context lasts."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """Fold each batch norm that directly follows a convolution in an ``nn.Sequential`` into it, in place.

    Args:
        net: A network in evaluation mode.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in net.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            conv, norm = module[i], module[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[i], module[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return net


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Suppress warnings of torch's ONNX exporter about packages that are not needed here."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
