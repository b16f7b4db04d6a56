"""What was seen: flows and their verdicts. Never says what should have been."""
