"""Searches: Optuna studies over a full or a narrowed space."""
