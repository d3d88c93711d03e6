"""DRAM bytes by accelerator models of other houses, to compare with; see docs/peers.md."""
