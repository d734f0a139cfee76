"""Where backends come from, and which models they have."""
