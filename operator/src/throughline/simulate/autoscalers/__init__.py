"""The autoscalers to compare with, each after its own source code."""
