"""Picket's control plane: learns the service graph, keeps the approved one, and tells every sidecar its part."""

__version__ = "0.1.0"
