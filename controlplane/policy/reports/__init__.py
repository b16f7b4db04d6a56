"""Findings and test results in the formats of other tools. Never decides what is one; never does I/O."""
