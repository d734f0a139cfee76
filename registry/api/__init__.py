"""The control plane: what operators, scripts and probes ask over HTTP.

============  ====================================================================
`app`         the FastAPI application and its paths
`backends`    `/backends`; `patch` is how a merge patch is applied
`leases`      `/leases`
`changes`     `/history` and `/watch`
`status`      `/status`
`probes`      `/livez` and `/readyz`
`exposition`  `/metrics`, in the form Prometheus reads
`docs_page`   `/docs`
`documented`  the OpenAPI document; `documented_services` is its part about services
`parameters`  what stands in paths, queries and header fields; `conditions` is `If-Match`
`requests`    paths as they were sent
`admin_key`   the key that changes need
`routes`      what is refused before FastAPI reads a request
`refusals`    what each error becomes; `problems` is the form, RFC 9457
`asked`       what the control plane needs from the registry
============  ====================================================================
"""
