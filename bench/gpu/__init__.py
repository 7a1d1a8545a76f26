"""The product on a real GPU, without a cluster."""
