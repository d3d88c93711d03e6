"""Searches: Optuna studies over a full or a narrowed space."""

import warnings

# In a notebook without ipywidgets, importing Optuna warns that its progress bars, which are not used here, lack them.
# So it is imported here first, where that is caught, and the user's own filters stay as they are.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="IProgress not found")
    import optuna  # noqa: F401
