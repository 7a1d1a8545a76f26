"""Throughline: an SLO autopilot for NVIDIA Triton Inference Server on Kubernetes."""
