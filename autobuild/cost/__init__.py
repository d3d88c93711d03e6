"""Costs: numbers computed from an architecture without training it."""

from autobuild.cost.analytic import Cost, CostTables, costs_of, known_costs
from autobuild.cost.count import count_macs, count_params
from autobuild.cost.unit_tables import additive_costs, unit_tables

__all__ = [
    "Cost",
    "CostTables",
    "additive_costs",
    "costs_of",
    "count_macs",
    "count_params",
    "known_costs",
    "unit_tables",
]
