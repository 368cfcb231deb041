"""Bridges: programs outside init that tell it of what happens elsewhere, as events, while some job waits for them."""
