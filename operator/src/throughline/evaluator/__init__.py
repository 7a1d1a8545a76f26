"""`throughline-evaluate`: a model behind Triton against an evaluation suite. Needs the extra `evaluator`."""
