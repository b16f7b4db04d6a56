"""gRPC only: ADS, telemetry, certificates, sidecar state, and who the peer is. Decides nothing about policy."""
