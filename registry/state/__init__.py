"""The registry's state as a pure machine: commands in, results and changes out; no I/O, no clock, no chance."""
