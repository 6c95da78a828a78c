"""What the tests that cross packages share."""

import signal

pytest_plugins = ["tests.services.apt"]

# Who started the tests may have had Ctrl-C ignored, as shells do for jobs in the background, or the end of a terminal,
# as nohup does; and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
