"""Searches: Optuna studies over a full or a narrowed space."""

import warnings

# In a notebook without ipywidgets, importing Optuna warns that its progress bars, which are not used here, lack them.
warnings.filterwarnings("ignore", message="IProgress not found")
