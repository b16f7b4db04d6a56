"""The sidecar: one Envoy, the agent that feeds it and reports for it, and the application beside it.

Never imports the control plane.
"""

VERSION = "0.1.0"
