"""The one place that names Midfill's version."""

__version__ = "0.1.0"
