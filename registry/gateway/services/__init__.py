"""`/services`, `/stats` and `/health`: the service registry, answered by the gateway itself.

===============  ====================================================================
`endpoints`      which request is answered how, and who may send it
`bodies`         what stands in the body of a request
`queries`        what stands in a path and behind its question mark
`wire`           answers as JSON
`heartbeats`     the plain ones, which are nearly all
`registrations`  the usual ones
`gathering`      what comes in together goes to the owner together
`listing`        the JSON of each service, kept until something of it changes
`refused`        errors, as `{"error": ...}`
`asked`          what the endpoints need from the registry
===============  ====================================================================
"""
