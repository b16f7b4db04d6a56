"""Picket's own messages."""
