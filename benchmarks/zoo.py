"""Published networks as graphs: parameters and MACs beside an independent count, and how long fusing them takes.

python -m benchmarks.zoo [--quick]     what is in results/zoo_runs.csv is not run again (needs torchvision, timm, onnx)
python -m benchmarks.zoo --part counts     parameters and MACs alone
python -m benchmarks.zoo --part table      remake the table from the runs

Networks of torchvision and timm, without weights, and every ONNX file that an installed package ships; each in a
process of its own. The independent count of a network: its parameters, and ``torch.utils.flop_counter`` on the meta
device, module by module; of a file: its floating-point initialisers, and products counted from the shapes that
``onnx.shape_inference`` finds. A difference is explained by a rule of this file, with its amount, or the row says
UNEXPLAINED; with such a row, one that failed, or a fusion over its limit, the command ends with exit status 1. A file
that the library refuses by name, because it passes on what is no tensor, is shown with the reason.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import math
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.report import RESULTS, arguments, machine, write
from benchmarks.runs import Run, Runs

LIMIT_S = 8.0  # of a fusion
GRACE_S = 1.0  # beyond its limit
HARD_S = 600  # of one process: tracing, counting, fusing; a busy machine takes many times what a quiet one does
FILE = RESULTS / "zoo_runs.csv"
# Once for all networks: their processes are forks of this one.
IMPORTED = ("torch.utils.flop_counter", "timm", "onnx", "pandas", "autobuild.cost", "autobuild.graphs.from_onnx")
TORCHVISION = """
    alexnet vgg11 vgg16_bn squeezenet1_0 squeezenet1_1 resnet18 resnet50 resnext50_32x4d wide_resnet50_2 densenet121
    inception_v3 googlenet shufflenet_v2_x0_5 shufflenet_v2_x1_0 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
    mnasnet0_5 mnasnet1_0 efficientnet_b0 efficientnet_b3 efficientnet_v2_s regnet_y_400mf regnet_x_400mf vit_b_16
    swin_t swin_v2_t convnext_tiny maxvit_t
    fcn_resnet50 deeplabv3_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large
    fasterrcnn_mobilenet_v3_large_fpn.backbone retinanet_resnet50_fpn.backbone ssd300_vgg16.backbone
    ssdlite320_mobilenet_v3_large.backbone fcos_resnet50_fpn.backbone
    r3d_18 mc3_18 r2plus1d_18 s3d mvit_v2_s swin3d_t raft_small
"""
TIMM = """
    test_vit2 vit_tiny_patch16_224 vit_xsmall_patch16_clip_224 vit_dwee_patch16_reg1_gap_256 mobileone_s2 gernet_s
    regnetz_b16 eca_resnext26ts bat_resnext26ts beit_base_patch16_224 halonet_h1 halonet26t eca_botnext26ts_256
    lambda_resnet26t poolformerv2_s12 poolformer_s12 convformer_s18 cait_xxs24_224 coat_tiny coat_lite_tiny test_maxvit
    coatnet_nano_rw_224 convit_tiny convmixer_768_32 convnext_atto convnextv2_atto cpubone_nano crossvit_tiny_240
    crossvit_9_dagger_240 cs3darknet_focus_s cspresnet50 csatv2 cspnext_tiny davit_tiny deepseek_vit_412m
    deit_tiny_patch16_224 deit_tiny_distilled_patch16_224 densenet121 densenetblur121d dla46x_c nf_regnet_b0
    eca_nfnet_l0 dm_nfnet_f0 dpn48b ese_vovnet19b_slim_dw resnetblur18 ecaresnet26t seresnet50 edgenext_xx_small
    efficientformer_l1 efficientformerv2_s0 tf_mixnet_s mobilenetv1_100 tf_efficientnetv2_b0 efficientnet_b0_g8_gn
    tinynet_e efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8
    mobilenetv3_small_050 mobilenetv4_conv_small lcnet_035 fbnetv3_b focalnet_tiny_srf gcvit_xxtiny ghostnet_050
    ghostnetv3_050 gmlp_ti16_224 gmixer_12_224 resmlp_12_224 mixer_s32_224 hardcorenas_b hgnetv2_b0 hiera_tiny_224
    sam2_hiera_tiny hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4
    lcnetv2_small legacy_seresnet18 legacy_xception levit_128s levit_conv_128s lowformer_b0 mambaout_femto
    mobilenetv5_300m mobilevit_xxs mobilevitv2_050 mvitv2_tiny naflexvit_base_patch16_gap nasnetalarge nest_tiny
    nextvit_small pit_ti_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m gemma4_vit_167m rdnet_tiny regnetx_002 regnety_004
    repghostnet_050 repvit_m1 res2net50_14w_8s resnest14d resnetv2_18 resnetv2_50 rexnet_100 samvit_base_patch16_224
    selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
    swinv2_tiny_window8_256 swinv2_cr_tiny_224 test_vit_relpos tiny_vit_5m_224 tnt_s_patch16_224
    tnt_s_legacy_patch16_224 tresnet_m twins_svt_small twins_pcpvt_small vgg11_bn visformer_tiny
    vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 xception41p xcit_nano_12_p8_224
"""
SIZES = {"inception_v3": (3, 299, 299), "efficientnet_b3": (3, 300, 300), "mvit_v2_s": (3, 16, 224, 224),
         "s3d": (3, 16, 224, 224), **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t"), (3, 8, 112, 112)),
         **dict.fromkeys(("ssd300_vgg16.backbone",), (3, 300, 300))}  # fmt: skip
# Operators that multiply and accumulate, which torch's counter does not know; our graphs count them.
UNKNOWN_TO_TORCH = ("mv", "dot", "vdot", "addmv", "addbmm", "mkldnn_rnn_layer", "lstm", "gru", "deform_conv2d",
                    "grid_sampler_2d")  # fmt: skip
FLOATS = (1, 10, 11, 16)  # floating-point data types of ONNX
Why = list[tuple[str, int]]  # what explains a difference, and how much of it


def names() -> list[str]:
    """All networks, and the files by package and path inside it."""
    zoo = [f"torchvision/{name}" for name in TORCHVISION.split()] + [f"timm/{name}" for name in TIMM.split()]
    return zoo + sorted(f"onnx:{path}" for path in onnx_files())


def onnx_files() -> dict[str, Path]:
    """The ONNX files of installed packages."""
    files = (file for package in importlib.metadata.distributions() for file in package.files or ())
    return {str(file): Path(str(file.locate())) for file in files if file.suffix == ".onnx"}


def counted(name: str) -> tuple[Any, dict[str, float]]:
    """The graph of a network, and what both counts say of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _file(name.removeprefix("onnx:")) if name.startswith("onnx:") else _network(name)


def _network(name: str) -> tuple[Any, dict[str, float]]:
    import torch

    import autobuild as ab

    library, _, rest = name.partition("/")
    model, _, inside = rest.partition(".")
    network = ab.load_zoo(f"{library}/{model}")
    network = (network.get_submodule(inside) if inside else network).eval()
    size = SIZES.get(rest) or getattr(network, "default_cfg", {}).get("input_size") or (3, 224, 224)
    example = (torch.zeros(1, *size),) * (2 if model.startswith("raft") else 1)
    started = time.perf_counter()
    graph = ab.graph_of(network, example, name=name)
    seconds = time.perf_counter() - started
    params = sum(tensor.numel() for tensor in network.parameters())
    meta, unread = _watched(network.requires_grad_(False), example)
    whys_params: Why = [(f"unused parameters: {where}", -size) for where, size in unread.items()]
    told = {"seconds traced": seconds, "params": graph.params, "params independent": params}
    told |= {"macs": graph.macs, "macs independent": meta.total, **_told("params", whys_params)}
    whys_macs, left = _macs_differ(graph, meta)
    told |= _told("macs", whys_macs) | {f"left in {path or 'the network itself'}": own for path, own in left}
    return graph, told


def _told(what: str, whys: Why) -> dict[str, float]:
    found: Counter[str] = Counter()
    for why, amount in whys:
        found[f"why {what}: {why}"] += amount
    return dict(found)


class _Seen:
    """What torch's counter says of each module with all inside it, and the operators that ran in each."""

    def __init__(self) -> None:
        self.macs: Counter[str] = Counter()
        self.ahead: Counter[str] = Counter()  # of them what no input of the network flows into
        self.ops: dict[str, Counter[str]] = {}
        self.total = 0


def _watched(network: Any, example: tuple[Any, ...]) -> tuple[_Seen, dict[str, int]]:
    """Run a network on the meta device, or where it cannot, on the CPU: MACs, and parameters that nothing reads."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    owners = {id(tensor): name for name, tensor in network.named_parameters()}
    ties: dict[str, list[str]] = {}
    for name, tensor in network.named_parameters(remove_duplicate=False):
        ties.setdefault(owners[id(tensor)], []).append(name)
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that the counter does not know
    for device in ("meta", "cpu"):
        placed = network.to(device) if device == "meta" else network.to_empty(device="cpu")
        counter = FlopCounterMode(display=False)
        seen, read = _Seen(), set()
        given = [tensor.to(device) for tensor in example]
        alive, flows = list(given), {_storage(tensor) for tensor in given}  # what an input of the network flows into

        class Reads(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                read.update(id(leaf) for leaf in _leaves((args, kwargs)) if isinstance(leaf, torch.nn.Parameter))  # noqa: B023
                inner = max(counter.mod_tracker.parents, key=len)  # noqa: B023
                seen.ops.setdefault(_path(inner), Counter())[func.overloadpacket.__name__] += 1  # noqa: B023
                out = func(*args, **(kwargs or {}))
                taken = [leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
                made = [leaf for leaf in _leaves((out,)) if isinstance(leaf, torch.Tensor)]
                if any(_storage(leaf) in flows for leaf in taken):  # noqa: B023
                    flows.update(map(_storage, made))  # noqa: B023
                elif func.overloadpacket in flop_registry:
                    flops = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
                    for parent in {_path(module) for module in counter.mod_tracker.parents}:  # noqa: B023
                        seen.ahead[parent] += int(flops) // 2  # noqa: B023
                alive.extend(made)  # noqa: B023
                return out

        try:
            with torch.no_grad(), counter, Reads():
                placed(*given)
        except Exception:
            if device == "cpu":
                raise
            continue
        for module, flops in counter.get_flop_counts().items():
            if module != "Global":
                seen.macs[_path(module)] = sum(flops.values()) // 2
        seen.total = counter.get_total_flops() // 2
        held = dict(placed.named_parameters(remove_duplicate=False))
        unread: Counter[str] = Counter()
        for name, group in ties.items():
            if not any(id(held[tied]) in read for tied in group):
                unread[name.split(".")[0]] += held[name].numel()
        return seen, dict(unread)
    raise AssertionError("unreachable")


def _storage(tensor: Any) -> int:
    """Equal for a tensor and its views; for as long as one of them is held."""
    return int(tensor.untyped_storage()._cdata)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, Iterable) and not hasattr(value, "shape") and not isinstance(value, str):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _path(module: str) -> str:
    """``"Global"`` and the network's own class are the empty path."""
    return module.partition(".")[2]


def _macs_differ(graph: Any, seen: _Seen) -> tuple[Why, Why]:
    """Differences of MACs, each in the innermost modules where it shows: those that a rule explains, and the others."""
    ours: Counter[str] = Counter()
    uncounted: dict[str, Counter[str]] = {}
    for node in graph.nodes:
        path = node.module
        if node.macs is None:
            uncounted.setdefault(path, Counter())[(node.op or node.type).removeprefix("aten.").split(".")[0]] += 1
        while True:
            ours[path] += node.macs or 0
            if not path:
                break
            path = path.rpartition(".")[0]
    ahead: Why = [("of weights alone, done once and ahead", -seen.ahead[""])] if seen.ahead[""] else []
    if ahead and ours[""] == seen.total:  # these are counted here, too
        ahead = []
    elif ahead:
        seen.macs.subtract(seen.ahead)
        seen.total -= seen.ahead[""]
    paths = {path for path in {*ours, *seen.macs} if ours[path] != seen.macs[path]}
    if ours[""] == seen.total:
        gone = Counter[str]()
        for found in uncounted.values():
            gone.update(found)
        return ahead + [(f"no rule, and torch has none: {op} x{many}", 0) for op, many in gone.items()], []
    whys: Why = ahead
    left: Why = []
    for path in paths:
        inside = sum(ours[child] - seen.macs[child] for child in paths if child.rpartition(".")[0] == path and child)
        own = ours[path] - seen.macs[path] - inside
        if path == "":
            own = ours[""] - seen.total - inside
        missed = sorted(uncounted.get(path, ()))
        unknown = sorted(op for op in seen.ops.get(path, ()) if op in UNKNOWN_TO_TORCH)
        if own < 0 and missed:
            whys.append((f"no rule: {', '.join(missed)}", own))
        elif own > 0 and unknown:
            whys.append((f"torch's counter does not know {', '.join(unknown)}", own))
        elif own:
            left.append((path, own))
    return whys, left


def _file(name: str) -> tuple[Any, dict[str, float]]:
    import numpy as np
    import onnx

    import autobuild as ab

    path = onnx_files()[name]
    model = onnx.load(path)
    started = time.perf_counter()
    graph = ab.graph_of(str(path), name=name)
    seconds = time.perf_counter() - started
    main = model.graph
    floats = [tensor for tensor in main.initializer if tensor.data_type in FLOATS]
    params = sum(math.prod(tensor.dims) for tensor in floats)
    read = {value for node in main.node for value in node.input}
    whys: Why = [(f"nothing reads {tensor.name}", -math.prod(tensor.dims)) for tensor in floats
                 if tensor.name not in read]  # fmt: skip
    held = {tensor.name: tensor for tensor in main.initializer}
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in floats}
    for node in main.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in held:
            size = int(onnx.numpy_helper.to_array(held[node.input[0]]).prod())
            sizes[node.output[0]] = size
            whys.append(("weights of ConstantOfShape nodes, which are no initialisers", size))
        value = next((item.t for item in node.attribute if node.op_type == "Constant" and item.name == "value"), None)
        if value is not None and value.data_type in FLOATS and math.prod(value.dims) > 1:
            whys.append(("weights of Constant nodes, which are no initialisers", math.prod(value.dims)))
    measured = {value for node in main.node if node.op_type == "BatchNormalization" for value in node.input[3:5]}
    whys += [("running means and variances, which nobody learns", -sizes[value]) for value in measured & set(sizes)]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in main.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        shapes.setdefault(value.name, tuple(size.dim_value for size in value.type.tensor_type.shape.dim))
    macs = 0
    for node in main.node:
        first, second = (shapes.get(value, ()) for value in [*node.input, "", ""][:2])
        out = shapes.get(node.output[0], ())
        if node.op_type == "Conv":
            macs += math.prod(out) * math.prod(second[1:])
        elif node.op_type == "ConvTranspose":
            macs += math.prod(first) * math.prod(second[1:])
        elif node.op_type in ("Gemm", "MatMul"):
            across = any(item.name == "transA" and item.i for item in node.attribute)
            macs += math.prod(out) * (first[0] if across else first[-1])
    told = {"seconds traced": seconds, "params": graph.params, "params independent": params, "macs": graph.macs}
    told |= {"macs independent": int(np.int64(macs)), **_told("params", whys)}
    gone = Counter(node.op or node.type for node in graph.nodes if node.macs is None)
    return graph, told | _told("macs", [(f"no rule, and not counted beside: {op} x{n}", 0) for op, n in gone.items()])


def fused(graph: Any) -> dict[str, float]:
    """How long fusing took, and how good the plan is known to be."""
    import autobuild as ab

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        found = ab.fuse(graph, time_limit_s=LIMIT_S)
        seconds = time.perf_counter() - started
    told = found.metrics
    gap = told["optimum_gap"]
    return {"seconds": seconds, "proven": told["status"] == "optimal", "gap": float("nan") if gap is None else gap,
            "operations": told["operations"], "groups": told["groups"], "dram_bytes": told["dram_bytes"],
            "lower_bound": told["lower_bound"], "unfused_dram_bytes": told["unfused_dram_bytes"]}  # fmt: skip


def alone(name: str, parts: list[str], file: str) -> None:
    """One network, in this process; what is known is written after each step, so that a kill loses only the next."""
    graph = None
    for part in ("counts", "fuse"):
        try:
            if part == "counts":
                graph, told = counted(name)
            elif graph is None or part not in parts:
                break
            else:
                told = fused(graph)
        except Exception as error:
            refused = name.startswith("onnx:") and type(error).__name__ == "GraphError"
            what = "refused" if refused else f"failed: {type(error).__name__}"
            why = " ".join(str(error).split()).rpartition(name.removeprefix("onnx:") + ": ")[2]
            told = {f"{what}: {why[:300]}": 1}
        if part in parts:
            with open(file, "a", encoding="utf-8") as out:
                out.write(json.dumps([part, told]) + "\n")


def measure(runs: Runs, wanted: list[str], parts: list[str]) -> None:
    """Each network that the runs lack, in a process of its own: a fork of this one, which has imported all of it."""
    done = runs.done()
    for module in IMPORTED:
        importlib.import_module(module)
    for name in wanted:
        missing = [part for part in parts if Run(name, 0, part, "zoo") not in done]
        if not missing:
            continue
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as said:
            process = multiprocessing.get_context("fork").Process(target=alone, args=(name, missing, said.name))
            process.start()
            process.join(HARD_S)
            why = f"failed: the process ended with {process.exitcode}"
            if process.is_alive():
                process.kill()
                process.join()
                why = f"failed: not back after {HARD_S} s"
            got = dict(json.loads(line) for line in said)
        late = next((part for part in missing if part not in got), None)
        if late and not any(key.startswith(("failed", "refused")) for told in got.values() for key in told):
            got[late] = {why: 1}
        for part, told in got.items():
            runs.add(Run(name, 0, part, "zoo"), told)
        print(
            name, *(key for told in got.values() for key in told if key.startswith(("failed", "refused"))), flush=True
        )


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a network."""
    order = {name: place for place, name in enumerate(names())}
    rows = []
    for name in sorted(frame["cell"].unique(), key=lambda name: order.get(name, len(order))):
        own = frame[frame["cell"] == name]
        told = {method: dict(zip(part["metric"], part["value"], strict=True)) for method, part in own.groupby("method")}
        counts, plan = told.get("counts", {}), told.get("fuse", {})
        whys = [key for key in (*counts, *plan) if key.startswith(("failed: ", "refused: "))]
        row: dict[str, Any] = {"network": name}
        for what, label, unit in (("params", "parameters (M)", 1e6), ("macs", "MACs (G)", 1e9)):
            ours, other = counts.get(what), counts.get(f"{what} independent")
            row[label] = "" if ours is None else f"{ours / unit:.6g}"
            row[f"{label}, independent"] = "" if other is None else f"{other / unit:.6g}"
            row[f"{what} difference"] = ""
            if ours is None or other is None:
                continue
            row[f"{what} difference"] = "0" if ours == other else f"{ours / other - 1:+.3%}" if other else "new"
            rules = {key.removeprefix(f"why {what}: "): amount for key, amount in counts.items()
                     if key.startswith(f"why {what}: ")}  # fmt: skip
            whys += [f"{rule} ({amount / unit:+.4g} {label[-2]})" if amount else rule for rule, amount in rules.items()]
            if left := ours - other - sum(rules.values()):
                where = [key.removeprefix("left in ") for key in counts if key.startswith("left in ")]
                at = f" in {', '.join(where[:3])}{' ...' if where[3:] else ''}" if where and what == "macs" else ""
                whys.append(f"UNEXPLAINED: {left / unit:+.4g} {label[-2]} {what}{at}")
        if "seconds" in plan:
            late = plan["seconds"] > LIMIT_S + GRACE_S
            row["fused in (s)"] = f"{plan['seconds']:.1f}" + (" OVER THE LIMIT" if late else "")
            row["plan"] = "proven" if plan["proven"] else f"at most {plan['gap']:.2%} above the bound"
        else:
            row["fused in (s)"] = row["plan"] = ""
        rows.append({**row, "why": "; ".join(whys)})
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each library and for the files: how many agree, how many differ for which kind of reason."""
    found = []
    where = rows["network"].str.split("[/:]", regex=True).str[0]
    for library, part in rows.groupby(where, sort=False):
        read, fused_rows = part[part["parameters (M)"] != ""], part[part["plan"] != ""]
        apart = (read["params difference"] != "0") | (read["macs difference"] != "0")
        open_ones = read["why"].str.contains("UNEXPLAINED")
        found.append(
            {
                "networks": library, "tried": len(part), "read": len(read),
                "parameters equal": int((read["params difference"] == "0").sum()),
                "MACs equal": int((read["macs difference"] == "0").sum()),
                "another number, explained": int((apart & ~open_ones).sum()),
                "unexplained": int(open_ones.sum()),
                "fused": len(fused_rows), "proven the best": int((fused_rows["plan"] == "proven").sum()),
                "over the limit": int(fused_rows["fused in (s)"].str.contains("OVER").sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(found)


def main() -> int:
    """Measure what is missing and print the table."""
    given = arguments(__doc__ or "")
    runs = Runs(FILE if not given.quick else RESULTS / ".zoo_quick.csv")
    wanted = ["torchvision/resnet18", "timm/vit_tiny_patch16_224"] if given.quick else names()
    if given.part != "table":
        measure(runs, wanted, ["counts"] if given.part == "counts" else ["counts", "fuse"])
    found = table(runs.read())
    if given.quick:
        runs.path.unlink(missing_ok=True)
    note = (
        f"Batch of one. {len(found)} networks; fused for the default hardware in at most {LIMIT_S:g} s. "
        f"0: not a single parameter or MAC apart. {machine()}"
    )
    write("zoo", found, quick=given.quick, note=note)
    write("zoo_summary", summary(found), quick=given.quick, note=note)
    text = found.to_string()
    return int(any(mark in text for mark in ("UNEXPLAINED", "OVER THE LIMIT", "failed: ")))


if __name__ == "__main__":
    sys.exit(main())
