"""The packages of the extra ``serve``."""

from emotailor.encoders.packages import need

COMMAND = "pip install 'emotailor[serve]'"


def need_server() -> None:
    """Refuse to go on without the packages that a server needs.

    Raises:
        ConfigError: one is not installed.
    """
    for module in ("fastapi", "uvicorn", "h11", "prometheus_client"):
        need(module, "a service", COMMAND)
