"""Costs: numbers computed from an architecture without training it."""

from autobuild.cost.analytic import Cost, CostTables, known_costs, costs_of
from autobuild.cost.count import count_macs, count_params

__all__ = ["Cost", "CostTables", "known_costs", "costs_of", "count_macs", "count_params"]
