"""What people and sidecars do: record, propose, approve, publish. The only writers of the store; no gRPC, no HTTP."""
