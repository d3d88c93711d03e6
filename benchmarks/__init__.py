"""One command a claim: ``python -m benchmarks.<name>`` prints the table that the README quotes."""
