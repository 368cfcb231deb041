"""The engine: events, conditions, and the life of job instances, without any input or output of its own."""
