"""The approved graph in the words of other tools. What a target cannot say is listed, never dropped silently. Never does I/O."""
