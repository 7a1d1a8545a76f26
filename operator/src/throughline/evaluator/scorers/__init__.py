"""Scorers that are containers: what is handed to them, and what they hand back."""
