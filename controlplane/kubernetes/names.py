"""The names of what the control plane keeps in a cluster, and asks of its namespaces. Decides nothing.

The chart and whoever writes manifests rely on them.
"""

from __future__ import annotations

#: Label of a namespace: the mode in which its services begin.
MODE_LABEL = "picket.dev/mode"
#: The ConfigMap with the mesh's roots that each injected namespace gets, and its key.
TRUST_BUNDLE = "picket-trust-bundle"
TRUST_BUNDLE_KEY = "bundle.pem"
