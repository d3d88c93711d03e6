"""Neural architecture construction: learn what matters from labelled architectures, then build the best networks."""

__version__ = "0.1.0"
