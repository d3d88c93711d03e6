"""Costs: numbers computed from an architecture without training it."""

from autobuild.cost.analytic import Cost, CostTables, cost_tables, costs_of
from autobuild.cost.count import count_macs, count_params

__all__ = ["Cost", "CostTables", "cost_tables", "costs_of", "count_macs", "count_params"]
