"""The pages about the code, made from its docstrings."""
