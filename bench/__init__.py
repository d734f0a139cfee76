"""The figures this project promises, measured beside their alternatives: `python -m bench NAME`.

One module a benchmark; it has `SECONDS`, how long it takes unless told otherwise, and `run(seconds, seed)`, which
yields its figures. `figures`, `timing` and `processes` are shared.
"""
