"""What runs on the other side: standard library, `wren.wire` and the one storage module, nothing else.

`stream` is how messages cross a pipe, `run` is one call, `isolation` keeps calls from seeing each other, and a shell
(`pipe`) is the loop between them.
"""
