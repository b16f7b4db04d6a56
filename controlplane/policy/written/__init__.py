"""YAML as people write it: values with their places and comments, read within bounds, checked and written back. Never does I/O."""
