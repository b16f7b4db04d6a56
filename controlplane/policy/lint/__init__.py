"""Lint for `TrafficPolicy` documents: what reads well and is doubtful all the same. Never decides what is allowed."""
