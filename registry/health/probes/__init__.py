"""How each type of server is asked: one module a type, each with a function `ask` that returns its models.

An `ask` gets a `Conversation` with the server and raises `NotHealthy` or `NoAnswer` if all is not well. The time of
its first request is noted as the server's latency.
"""
