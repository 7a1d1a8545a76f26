"""Sampled requests, from Triton's trace files to redacted rows on a volume."""
