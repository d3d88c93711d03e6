"""The jobs of the command line: thin walks from configuration to tables, one module a job."""
