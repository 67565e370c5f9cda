"""What the export stages make of the shared model."""

from exported import bundles, exact, parts, quantized  # noqa: F401
