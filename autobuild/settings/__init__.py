"""Settings shared by the library and the command line: names, types, defaults, bounds, choices and help; no torch."""
