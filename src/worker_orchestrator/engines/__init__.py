"""The engines, where machines run: the protocol (`base`, `extras`), which one a setting names (`open`), and each engine."""
