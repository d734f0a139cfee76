"""`python -m demo`: the whole product at work, on real model servers, in a minute.

Two llama.cpp servers, the registry in front of them, and a client that talks to it with the `openai` package,
loses a gateway process in the middle of an answer, and sees that nothing else is lost with it.
"""
