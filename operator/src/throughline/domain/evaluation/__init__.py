"""Policy of evaluation: what the numbers mean for the gate."""
