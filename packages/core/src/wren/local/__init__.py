"""The built-in plugins: calls in local processes, and storages in a directory and in memory."""
