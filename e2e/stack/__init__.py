"""What the demo, the tests and the benchmarks run on the cluster: Prometheus, models, load, and the operator."""
