"""What the owner does in a turn: apply, store, answer."""
