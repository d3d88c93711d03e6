"""The noise of the embedded labels: how far apart are architectures, and how far apart seeds?

python -m benchmarks.noise
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from autobuild.labels.label_files import EMBEDDED
from autobuild.rank import srcc
from benchmarks.report import arguments, write


def main() -> None:
    """Compare the labels with the repeated trainings."""
    options = arguments(__doc__ or "")
    acc = pd.read_csv(EMBEDDED / "tiny_mbconv.csv").set_index("arch")["acc"]
    wide = pd.read_csv(EMBEDDED / "tiny_mbconv_trainings.csv").pivot(index="arch", columns="seed", values="acc")
    repeated = wide.dropna()  # the architectures that were trained with two more seeds
    low, high = np.percentile(acc, [5, 95])
    seed_sd = float(np.sqrt(wide[[0, 1]].var(axis=1, ddof=1).mean()))
    label_sd = seed_sd / 2**0.5
    pair = srcc(wide[0], wide[1])
    again = srcc(acc.reindex(repeated.index), repeated[[2, 3]].mean(axis=1))
    rows = [
        ("architectures labelled (each the mean of two trainings)", f"{len(acc)}", ">= 400", len(acc) >= 400),
        ("accuracy, 5th to 95th percentile (points)", f"{low:.1f} to {high:.1f} ({high - low:.1f})", ">= 15",
         high - low >= 15),
        ("standard deviation of the labels (points)", f"{acc.std():.2f}", "", True),
        ("architectures trained with two more seeds", f"{len(repeated)}", ">= 30", len(repeated) >= 30),
        ("standard deviation between seeds, one training (points)", f"{seed_sd:.2f}", "", True),
        ("seed deviation / label deviation, one training", f"{seed_sd / acc.std():.3f}", "<= 0.2",
         seed_sd <= acc.std() / 5),
        ("seed deviation / label deviation, a label (two trainings)", f"{label_sd / acc.std():.3f}", "<= 0.2",
         label_sd <= acc.std() / 5),
        (f"rank correlation between seeds 0 and 1, all {len(wide)}", f"{pair:.3f}", ">= 0.9", pair >= 0.9),
        (f"rank correlation of the labels with trainings of two other seeds, {len(repeated)}", f"{again:.3f}",
         ">= 0.9", again >= 0.9),
    ]  # fmt: skip
    table = pd.DataFrame(
        [(a, b, c, ("yes" if d else "no") if c else "") for a, b, c, d in rows],
        columns=["what", "measured", "wanted", "reached"],
    )
    write("noise", table, quick=options.quick)


if __name__ == "__main__":
    main()
