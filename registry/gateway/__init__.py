"""The HTTP data plane: one asyncio process of several that share one listening socket.

====================  ==================================================================
`settings`            what a gateway is told at its start
`app`                 the whole gateway: who answers what
`proxy`               a completion: lease, upstream call, answer, release
`leasing`             what a gateway needs from the registry, and one held lease
`completion_call`     the two things read from a completion request
`forwarding`          header fields on their way through
`trail`               requests that come back, and the sign by which they are known
`event_stream`        a stream of events that can be broken off cleanly
`openai`              errors in the form OpenAI's clients expect
`models`              `GET /v1/models`
`services`            `/services`, `/stats` and `/health`
`origin`              which web pages may write
`request_ids`         one identifier for each request
`asgi`                an ASGI application (the control plane) on the same port
`http1`               HTTP/1.1 itself
====================  ==================================================================
"""
