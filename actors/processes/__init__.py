"""Starting, watching and ending processes, for the supervisor."""
