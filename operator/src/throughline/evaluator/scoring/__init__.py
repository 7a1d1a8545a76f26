"""Metrics with intervals, by slice, with the largest gap between slices, and variants compared on the same rows."""

from throughline.evaluator.scoring.compare import compare
from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.scoring.score import score

__all__ = ["ScoringError", "compare", "score"]
