"""A whole real Kubernetes cluster on one machine, or the user's own: one interface for the demo, the tests and the benchmarks."""

from .cluster import Cluster
from .errors import ClusterError, PrerequisiteMissing

__all__ = ["Cluster", "ClusterError", "PrerequisiteMissing"]
