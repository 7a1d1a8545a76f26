"""Scores a model against an EvaluationSuite, on a laptop or in a Job. Needs the extra `evaluator`."""
