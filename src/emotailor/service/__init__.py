"""Predictions over HTTP: the application, what guards it, and how it is run.

:mod:`~emotailor.service.site` and :mod:`~emotailor.service.run` know nothing of models: they carry
the pages of a run, too.
"""
