"""What services need of others, as their repositories declare it, held against what is approved and used. Never does I/O."""
