"""DRAM bytes of chains of convolutions processed line by line, by Stream: results/stream_chains.json.

Runs in its own environment (``requirements_stream.txt``), from the root of the checkout:

    python benchmarks/peers/stream_chains.py [chain ...]

One core of one multiplier, one accumulator register and one buffer shared by everything, and DRAM. Every convolution is
cut into one node an output row (``OY`` outside); Stream schedules them, the deepest layer first. 8-bit tensors. Bytes
are counted from the transfers that Stream records on its links from and to DRAM. For the smallest buffer the nodes
keep the mappings onto the core that they have in the large one, and are scheduled anew.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter
from importlib.metadata import version
from typing import Any

import yaml
from networkx import DiGraph
from shared import BITS, HERE, PARTIAL_BITS, chosen, geometry, write
from stream.classes.hardware.architecture.accelerator import Accelerator
from stream.classes.hardware.architecture.communication_link import CommunicationLink
from stream.classes.stages.GenerateCNWorkloadHybridStage import GenerateCNWorkloadHybridStage
from stream.classes.stages.InterCoreMappingStage import InterCoreMappingStage
from stream.classes.stages.IntraCoreMappingStage import IntraCoreMappingStage
from stream.classes.workload.dnn_workload import DNNWorkload
from zigzag.classes.hardware.architecture.core import Core
from zigzag.classes.hardware.architecture.memory_hierarchy import MemoryHierarchy
from zigzag.classes.hardware.architecture.memory_instance import MemoryInstance
from zigzag.classes.hardware.architecture.operational_array import MultiplierArray
from zigzag.classes.hardware.architecture.operational_unit import Multiplier
from zigzag.classes.stages.Stage import MainStage, Stage

DRAM = 1  # its number among the cores
LPF_LIMIT = 6
IN = {"fh": "w_port_1", "tl": "r_port_1", "fl": None, "th": None}
BOTH = {"fh": "w_port_1", "tl": "r_port_1", "fl": "w_port_1", "th": "r_port_1"}


def core(number: int, memories: list[tuple[str, int, int, tuple[str, ...]]]) -> Core:
    """A core of one multiplier. ``memories``: (name, bits, bits a cycle, operands), the innermost first."""
    array = MultiplierArray(Multiplier([BITS, BITS], 0, 0), {"D1": 1, "D2": 1})
    hierarchy = MemoryHierarchy(operational_array=array)
    for name, bits, word, operands in memories:
        instance = MemoryInstance(
            name=name, size=bits, r_bw=word, w_bw=word, r_cost=0, w_cost=0, area=0, r_port=1, w_port=1, rw_port=0,
            latency=1,
        )  # fmt: skip
        ways = tuple(BOTH if operand == "O" else IN for operand in operands)
        hierarchy.add_memory(instance, operands=operands, port_alloc=ways, served_dimensions="all")
    return Core(number, array, hierarchy, [{"D1": ("K", 1), "D2": ("C", 1)}])


def hardware(buffer_bytes: int) -> Accelerator:
    """One core and DRAM, a link each way."""
    everything = ("I1", "I2", "O")
    chip = core(0, [("accumulator", PARTIAL_BITS, PARTIAL_BITS, ("O",)), ("buffer", 8 * buffer_bytes, 64, everything)])
    dram = core(DRAM, [("dram", 10**12, 64, everything)])
    links = [(sender, to, {"cl": CommunicationLink(sender, to, 64, 0)}) for sender, to in ((chip, dram), (dram, chip))]
    return Accelerator("one_multiplier", DiGraph(links), offchip_core_id=DRAM)


def geometries(chain: dict[str, Any]) -> list[dict[str, Any]]:
    """Every convolution with its input, its defaults and the rows and columns of its output."""
    shape, full = chain["in"], []
    for declared in chain["convolutions"]:
        conv = geometry({"in": shape} | declared)
        full.append(conv)
        shape = [conv["out"], conv["rows"], conv["columns"]]
    return full


def workload(convolutions: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The chain as Stream's nests of loops; what has no source lies in DRAM at the start."""
    layers = {}
    for number, conv in enumerate(convolutions):
        pad, first = (conv["padding"], conv["padding"]), number == 0
        layers[number] = {
            "operator_type": "Conv",
            "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
            "dimension_relations": [f"i{x}={conv['stride']}*o{x}+{conv['dilation']}*f{x}" for x in "xy"],
            "loop_dim_size": {"B": 1, "K": conv["out"], "C": conv["in"][0], "OY": conv["rows"], "OX": conv["columns"],
                              "FY": conv["kernel"], "FX": conv["kernel"]},
            "operand_precision": {"O": PARTIAL_BITS, "O_final": BITS, "W": BITS, "I": BITS},
            "operand_source": {"W": [], "I": [] if first else [number - 1]},
            "constant_operands": ["W", "I"] if first else ["W"],
            "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
            "padding": {"IY": pad, "IX": pad},
        }  # fmt: skip
        if not first:
            layers[number]["operand_source_dimension_mapping"] = {"I": {"IX": "OX", "IY": "OY", "C": "K"}}
    return layers


class Keep(Stage):
    """The end of a run: hands out the nodes and their mappings onto the core."""

    def run(self) -> Any:
        """What the stages before found."""
        yield self.kwargs, None

    def is_leaf(self) -> bool:
        """Whether no stage follows."""
        return True


class Chain:
    """A chain cut into nodes of one output row, mapped onto the core of a buffer that everything fits in."""

    def __init__(self, convolutions: list[dict[str, Any]], buffer_bytes: int) -> None:
        machine = hardware(buffer_bytes)
        network = DNNWorkload(workload(convolutions), {"default": {"core_allocation": [0]}}, machine)
        self.mapped = MainStage(
            [GenerateCNWorkloadHybridStage, IntraCoreMappingStage, Keep], accelerator=machine, workload=network,
            loma_lpf_limit=LPF_LIMIT, cn_define_mode=1, hint_loops=[("OY", "all")],
        ).run()[0][0]  # fmt: skip

    def schedule(self, buffer_bytes: int) -> dict[str, int]:
        """Bytes between the chip and DRAM, a tensor and a way, if the buffer is so large.

        Raises:
            ValueError: Stream's own, where what one node needs does not fit.
        """
        settings = {
            "nb_ga_generations": 1, "nb_ga_individuals": 1, "plot_hof": False, "plot_file_name": "",
            "scheduler_candidate_selection": "memory", "operands_to_prefetch": [],
        }  # fmt: skip
        given = self.mapped | settings | {"accelerator": hardware(buffer_bytes)}
        done = MainStage([InterCoreMappingStage], **given).run()[0][0].accelerator
        bits: Counter[str] = Counter()
        for sender, _, data in done.cores.edges(data=True):
            way = "read" if sender.id == DRAM else "written"
            for event in data["cl"].events:
                for tensor in event.tensors:
                    bits[f"{tensor.layer_operand}{tensor.origin.id[0]}_{way}"] += tensor.size
        if odd := [key for key, count in bits.items() if count % 8]:
            raise AssertionError(f"{odd[0]}: {bits[odd[0]]} bits are no bytes")
        return {key: count // 8 for key, count in sorted(bits.items())}

    def smallest(self, buffer_bytes: int) -> int:
        """The smallest buffer with which no more bytes move than with this one.

        All sizes that can differ are tried, upward from the weights. Halving would not do: above the smallest there are
        sizes at which Stream fails, since it starts a node while the row that makes room is still on its way to DRAM.
        """
        least = self.schedule(buffer_bytes)
        nodes = self.mapped["workload"].nodes()
        step = math.gcd(*(tensor.size for node in nodes for tensor in node.operand_tensors.values())) // 8
        weights = sum(count for name, count in least.items() if name.startswith("W"))
        for size in range(weights - weights % step, buffer_bytes, step):
            try:
                if self.schedule(size) == least:
                    return size
            except ValueError:  # what one node needs does not fit
                continue
        return buffer_bytes


def main(names: list[str]) -> None:
    """Run all chains, or those named; only a run of all is written."""
    logging.disable(logging.WARNING)
    declared = yaml.safe_load((HERE / "chains.yaml").read_text())
    rows, buffer_bytes = [], declared["buffer_bytes"]
    for name in chosen(names, declared["chains"], "chains.yaml"):
        convolutions = geometries(declared["chains"][name])
        chain = Chain(convolutions, buffer_bytes)
        found = {"bytes": chain.schedule(buffer_bytes), "smallest_buffer_bytes": chain.smallest(buffer_bytes)}
        rows.append({"chain": name, "convolutions": convolutions, "buffer_bytes": buffer_bytes, **found})
        print(name, found, flush=True)
    if not names:
        versions = {name: version(name) for name in ("stream-dse", "zigzag-dse")}
        head = {"package": "stream-dse", "versions": versions, "lpf_limit": LPF_LIMIT, "rows_a_node": 1}
        write("stream_chains", head, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
