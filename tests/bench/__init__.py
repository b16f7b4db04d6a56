"""Benchmarks: what Picket costs and how fast it is, as ratios and figures of one run. Never part of the tests."""
