"""The SPIFFE Workload API, which control plane and sidecar both ask: its messages (generated), its client, its answers read."""
