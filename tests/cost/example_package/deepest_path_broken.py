"""A module of the package that fails on import, as packages do."""

raise RuntimeError("this package was built for another machine")
