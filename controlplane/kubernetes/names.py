"""The names of what the control plane keeps in a cluster, and asks of its namespaces. Decides nothing.

The chart and whoever writes manifests rely on them.
"""

from __future__ import annotations

#: Label of a namespace: the mode in which its services begin.
MODE_LABEL = "picket.dev/mode"
#: The ConfigMap with the mesh's roots that each injected namespace gets, and its key.
TRUST_BUNDLE = "picket-trust-bundle"
TRUST_BUNDLE_KEY = "bundle.pem"
#: Label of a namespace: what is approved for its services is written there as TrafficPolicy objects.
APPROVALS_LABEL = "picket.dev/approvals"
#: Label of an object that a tool keeps: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
#: Annotation of an object that Picket wrote: the policy revision by which it did.
REVISION_ANNOTATION = "picket.dev/revision"
#: Whose fields are whose: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
FIELD_MANAGER = "picket"
