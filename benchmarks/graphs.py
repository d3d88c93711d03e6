"""How fast any network becomes a graph of operations.

python -m benchmarks.graphs [--quick]      (needs torchvision; see ``autobuild.graphs.load_zoo``)

Wall and processor time, medians of three in one process; the first trace of a process also loads the tracer.
"""

from __future__ import annotations

import statistics
import time

import pandas as pd

import autobuild as ab
from benchmarks.report import arguments, counted_by_torch, machine, write

NETWORKS = {"efficientnet_b3": 300, "mobilenet_v3_large": 224, "resnet50": 224, "densenet121": 224, "vit_b_16": 224}


def main() -> None:
    """Trace, count, and compare with counting modules."""
    options = arguments(__doc__ or "")
    rows = []
    for name, size in list(NETWORKS.items())[: 1 if options.quick else None]:
        network = ab.load_zoo(name)
        wall, processor = [], []
        for _ in range(3):
            started, used = time.perf_counter(), time.process_time()
            graph = ab.graph_of(network, (1, 3, size, size), fold=False)
            wall.append(time.perf_counter() - started)
            processor.append(time.process_time() - used)
        params, macs = counted_by_torch(network, (3, size, size))
        same_params, same_macs = graph.params == params, graph.macs == macs
        rows.append(
            (
                f"{name}, {size} px",
                len(graph),
                graph.params / 1e6,
                graph.macs / 1e9,
                ", ".join(graph.uncounted),
                "yes" if same_params else "no",
                "yes" if same_macs else "no",
                statistics.median(wall),
                statistics.median(processor),
            )
        )
    columns = ["network", "operations", "parameters (M)", "MACs (G)", "not counted", "parameters as counted by modules",
               "MACs as counted by modules", "wall (s)", "processor (s)"]  # fmt: skip
    note = f"Wanted: efficientnet_b3 below 5 s. Modules miss layers called as functions (attention). {machine()}"
    write("graphs", pd.DataFrame(rows, columns=columns), quick=options.quick, note=note)


if __name__ == "__main__":
    main()
