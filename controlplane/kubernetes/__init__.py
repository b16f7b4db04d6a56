"""Picket in a Kubernetes cluster: sidecars put into pods, identities proved by their tokens, the topology watched."""
