"""How many threads torch takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` threads inside the block; None leaves them as they are.

    A batch of architecture graphs is small: on an idle machine with two cores a second thread saves about a tenth of
    the time (``benchmarks.core`` prints it), and where anything else runs the threads wait for each other and a fit may
    take twice as long. So one is the default.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
