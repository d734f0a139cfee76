"""The figures this project promises, measured beside their alternatives: `python -m bench NAME [--json] [--seconds N]`.

One module a benchmark; it has `SECONDS`, how long it takes unless told otherwise, and `run(seconds)`, which yields
its figures. `figures`, `timing` and `processes` are shared.
"""
