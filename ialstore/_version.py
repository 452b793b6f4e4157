"""The version of the distribution: its only source, read by the build as well."""

__version__ = "0.1.0"
