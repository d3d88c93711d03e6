"""DRAM bytes of single layers by ZigZag, an accelerator model that searches loop orders: results/zigzag_layers.json.

Runs in its own environment (``requirements_zigzag.txt``), from the root of the checkout:

    python benchmarks/peers/zigzag_layers.py [layer ...]

One multiplier, one 32-bit accumulator register, one buffer shared by weights, inputs and outputs, and DRAM. Only DRAM
costs energy (1 a byte), so the mapping of least energy is the one of least DRAM bytes. 8-bit tensors, 32-bit partial
sums. Up to six loop factors (``lpf_limit=6``): every order of them is tried.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from shared import BITS, HERE, PARTIAL_BITS, chosen, geometry, write
from zigzag.api import get_hardware_performance_zigzag
from zigzag.datatypes import LayerOperand
from zigzag.hardware.architecture.memory_port import DataDirection
from zigzag.mapping.data_movement import DataMoveAttr

LPF_LIMIT = 6


def port(kind: str, bits: int, operands: list[str], ways: tuple[str, ...]) -> dict[str, Any]:
    """One port of a memory. Ways: from or to the level above (fh, th) or below (fl, tl); an input has no th and fl."""
    served = [f"{operand}, {way}" for operand in operands for way in ways if operand == "O" or way in ("fh", "tl")]
    width = {"bandwidth_min": bits, "bandwidth_max": bits}
    return {"name": f"{kind[0]}_port_1", "type": kind, **width, "allocation": served}


def memory(bits: int, operands: list[str], cost: float, word: int) -> dict[str, Any]:
    """A memory of one read and one write port; ``cost``: energy of one word."""
    read, write = port("read", word, operands, ("tl", "th")), port("write", word, operands, ("fh", "fl"))
    return {"size": bits, "r_cost": cost, "w_cost": cost, "area": 0, "latency": 1, "operands": operands,
            "ports": [read, write], "served_dimensions": ["D1", "D2"]}  # fmt: skip


def hardware(buffer_bytes: int) -> dict[str, Any]:
    """The accelerator in ZigZag's words."""
    everything = ["I1", "I2", "O"]
    memories = {
        "accumulator": memory(PARTIAL_BITS, ["O"], 0.0, PARTIAL_BITS) | {"served_dimensions": []},
        "buffer": memory(8 * buffer_bytes, everything, 0.0, BITS),
        "dram": memory(10**12, everything, 1.0, BITS),
    }
    array = {"unit_energy": 0.0, "unit_area": 0.0, "dimensions": ["D1", "D2"], "sizes": [1, 1]}
    return {"name": "one_multiplier", "memories": memories, "operational_array": array}


def workload(layer: dict[str, Any]) -> list[dict[str, Any]]:
    """One convolution as ZigZag's nest of loops."""
    channels, height, width = layer["in"]
    groups, kernel, pad = layer["groups"], layer["kernel"], [layer["padding"]] * 2
    loops = {"B": 1, "G": groups, "K": layer["out"] // groups, "C": channels // groups,
             "OY": layer["rows"], "OX": layer["columns"], "FY": kernel, "FX": kernel}  # fmt: skip
    return [
        {
            "id": 0,
            "name": "layer",
            "operator_type": "Conv",
            "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
            "dimension_relations": [f"i{x}={layer['stride']}*o{x}+{layer['dilation']}*f{x}" for x in "xy"],
            "loop_dims": list(loops),
            "loop_sizes": list(loops.values()),
            "operand_precision": {"W": BITS, "I": BITS, "O": PARTIAL_BITS, "O_final": BITS},
            "operand_source": {"I": 0, "W": 0},
            "pr_loop_dims": ["IX", "IY"],
            "pr_loop_sizes": [width, height],
            "padding": [pad, pad],
        }
    ]


def dram(evaluation: Any) -> dict[str, Any]:
    """Bytes over the border of DRAM, and the loops that were chosen: inside the buffer and above, innermost first."""
    found: dict[str, Any] = {}
    for name in ("W", "I", "O"):
        operand = LayerOperand(name)
        top = evaluation.mapping.unit_mem_data_movement[operand][-1]
        count = top.get_attribute(DataMoveAttr.DATA_ELEM_MOVE_COUNT)
        bits = top.get_attribute(DataMoveAttr.DATA_PRECISION)
        for direction, way in ((DataDirection.RD_OUT_TO_LOW, "read"), (DataDirection.WR_IN_BY_LOW, "written")):
            found[f"{name}_{way}"] = round(count.get(direction) * bits.get(direction)) // 8
    levels = evaluation.temporal_mapping.mapping_dic_stationary
    found["loops"] = {
        name: [[[str(dim), int(size)] for dim, size in level] for level in levels[LayerOperand(name)]] for name in "WIO"
    }
    return found


def run(layer: dict[str, Any], buffer_bytes: int) -> dict[str, Any]:
    """The mapping of least DRAM bytes."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        spatial = {"D1": ["K, 1"], "D2": ["C, 1"]}
        links = {"O": "O", "W": "I2", "I": "I1"}
        mapping = [{"name": "default", "spatial_mapping": spatial, "memory_operand_links": links}]
        for name, data in (("hardware", hardware(buffer_bytes)), ("mapping", mapping), ("workload", workload(layer))):
            (here / f"{name}.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        energy, _, evaluations = get_hardware_performance_zigzag(
            *(str(here / f"{name}.yaml") for name in ("workload", "hardware", "mapping")),
            opt="energy", lpf_limit=LPF_LIMIT, dump_folder=folder, loma_show_progress_bar=False,
        )  # fmt: skip
    return dram(evaluations[0][1][0][0]) | {"energy": round(energy)}


def main(names: list[str]) -> None:
    """Run all layers, or those named, at all buffer sizes; only a run of all is written."""
    logging.disable(logging.WARNING)
    declared = yaml.safe_load((HERE / "layers.yaml").read_text())
    rows = []
    for name in chosen(names, declared["layers"], "layers.yaml"):
        layer = geometry(declared["layers"][name])
        for buffer_bytes in declared["buffers"]:
            begun = time.perf_counter()
            found = run(layer, buffer_bytes)
            rows.append({"layer": name, **layer, "buffer_bytes": buffer_bytes, **found})
            counts = {key: value for key, value in found.items() if key != "loops"}
            print(f"{name:20} {buffer_bytes:8} {time.perf_counter() - begun:5.1f} s", counts, flush=True)
    if not names:
        head = {
            "package": "zigzag-dse",
            "version": version("zigzag-dse"),
            "lpf_limit": LPF_LIMIT,
            "hardware": hardware(0) | {"comment": "the buffer's size, in bits, is 8 x buffer_bytes of the row"},
        }
        write("zigzag_layers", head, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
