"""The whole paper as one job."""
