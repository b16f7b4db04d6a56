"""The `picket` command: a thin shell over the API's client and the control plane. Never touches the store."""
