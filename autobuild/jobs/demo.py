"""``autobuild demo``: the whole walk on the embedded data, ending in networks that were really trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobuild.jobs.files import input_files


def run(config: Mapping[str, Any]) -> int:
    """Fit, explain, build, verify; then tell everything once more in order."""
    from autobuild.jobs import build, shows, steps
    from autobuild.jobs.run import Run
    from autobuild.jobs.verify import verify_step

    with Run.open("demo", config, input_files(config)) as folder:
        if not folder.finished:
            build.compute(folder, config)
            labels = steps.read_labels(config, quiet=True)
            config = {**config, "target": folder.metrics["target"]}  # a saved model brings its own
            verify_step(folder, config, labels, folder.read_frame("built.csv"), config["build"]["top"])
        build.show(folder)
        shows.show_verified(folder)
        shows.show_place(folder)
    return 0
