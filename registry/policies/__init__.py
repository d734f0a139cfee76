"""How a backend is chosen. Pure functions, run in the owner, where the counts are exact."""
