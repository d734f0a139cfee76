"""The babysitter: starts an AI server, keeps it running, and tells a registry of it; `actor-registry run`."""
