"""A backend to copy: `compute` runs wren's http shell in subprocesses, `storage` keeps objects in an SQLite file."""
