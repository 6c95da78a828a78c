"""What the tests that cross packages share."""

pytest_plugins = ["tests.services.apt"]
