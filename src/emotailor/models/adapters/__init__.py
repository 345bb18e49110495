"""Adapters: a text encoder that is trained together with the system behind it."""
