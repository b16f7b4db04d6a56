"""The injection of sidecars into pods: an AdmissionReview in, a JSON patch out. Pure; speaks to nobody.

Whether a namespace wants sidecars is the webhook configuration's selectors' question; what a pod says itself is decided here.
Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""
