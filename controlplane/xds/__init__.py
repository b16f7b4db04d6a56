"""Envoy configuration: policy compiled to resources, and the xDS protocol's state machine. Never touches gRPC or a socket."""
