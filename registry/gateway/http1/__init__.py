"""HTTP/1.1 for a proxy, by hand over httptools and uvloop: nothing here knows of AI servers.

=================  ====================================================================
`messages`         what a request is, and why one is refused
`limits`           how much, and how long, a peer may take
`deadlines`        one timer for all connections of a process
`request_reader`   bytes of a client to whole requests
`heads`            requests that came before, and need not be parsed again
`response`         the answer to one request, at once or in parts
`connection`       one client: requests in order, handled in a task that ends with the client, or begun without it
`listener`         accepting, and leaving gracefully
`endpoint`         where an upstream server is, as read from its URL
`upstream_errors`  what can go wrong with an upstream server
`resolver`         the addresses that host names stand for
`connector`        new connections, to allowed addresses only
`upstream`         one connection to an upstream server
`pool`             connections kept open, and one exchange over them
=================  ====================================================================
"""
