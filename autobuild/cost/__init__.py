"""Costs: numbers computed from an architecture without training it."""

from autobuild.cost.count import count_macs, count_params

__all__ = ["count_macs", "count_params"]
