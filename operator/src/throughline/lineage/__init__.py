"""Where a model comes from and who answered for it: digests, signed statements, a bill of materials, their check."""
