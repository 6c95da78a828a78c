"""The version of this package, which is not one of pywren-ibm-cloud's."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("wren-compat-pywren")
