"""Flows from the logs of other tools: a line becomes flows, or the reason why it is not used. Never stores anything."""
