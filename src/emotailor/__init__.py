"""Multi-modal, multi-label emotion recognition with TAILOR (AAAI 2022)."""

__version__ = "0.1.0"
