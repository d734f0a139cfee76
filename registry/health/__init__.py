"""Health checks: one process asks every backend and service how it is.

====================  ==================================================================
`process`             the health checker, from its start to its end
`start`               what it is told
`checker`             takes what is to be probed from the owner and reports what was found
`prober`              one probe, from the order to the finding
`findings`            what a probe finds, and how answers are judged
`http`                requests to one server, with one deadline and a limit on what it may send
`abilities`           what a model can do, as far as its name tells
`probes`              how each type of server is asked
====================  ==================================================================

What follows from a finding (thresholds, back-off, what is probed when) is decided in the owner.
"""
