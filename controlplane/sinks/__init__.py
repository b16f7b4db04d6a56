"""Sends violations and incidents to where an administrator wants them. Decides nothing, and never holds up what is reported."""
