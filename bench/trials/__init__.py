"""The trials of the faults benchmark, one module a fault.

What they share is a system with callers (`load`), a page on which these note what they know (`board`), and the
comparison of that with what the registry holds (`model`). Nothing is imported here: the workers that are killed by the
thousand are to start quickly.
"""
