"""A whole real Kubernetes cluster on one machine, or the user's own, behind one interface."""

from .cluster import Cluster
from .errors import ClusterError, PrerequisiteMissing

__all__ = ["Cluster", "ClusterError", "PrerequisiteMissing"]
