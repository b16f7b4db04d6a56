"""What a team expects of a policy, as files that are evaluated offline. Never talks to a control plane."""
