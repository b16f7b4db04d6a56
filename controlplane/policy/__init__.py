"""What is allowed: rules, their one meaning (`evaluate`), documents and audit events. Never does I/O."""
