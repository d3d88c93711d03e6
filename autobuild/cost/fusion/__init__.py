"""Layer fusion: which operations an accelerator runs as one, and the DRAM bytes that this saves."""
