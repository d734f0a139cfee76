"""The control plane: what operators, scripts and probes ask over HTTP.

============  ====================================================================
`app`         the Starlette application and its paths
`backends`    `/backends`
`probes`      `/health`, `/livez`, `/readyz`
`exposition`  `/metrics`, in the form Prometheus reads
`problems`    errors as RFC 9457 problem details
`reading`     what the control plane needs from the registry
============  ====================================================================
"""
