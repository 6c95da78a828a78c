"""Which of a function's modules travel to workers that do not have this machine's files, and how they are packed."""
