"""Vector faults."""
