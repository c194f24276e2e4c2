"""The Ray executor: one model actor per slot, on every node of a cluster."""
