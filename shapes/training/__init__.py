"""How the tiny models are trained; the only part of `shapes` that imports torch."""
