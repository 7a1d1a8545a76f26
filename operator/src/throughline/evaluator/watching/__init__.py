"""Windows of samples against the baseline, and late labels: one look, and what is kept for the next."""
