"""What a browser may load and run for a page of ours."""

import base64
import hashlib
from collections.abc import Sequence


def page_policy(*, scripts: Sequence[str] = (), styles: Sequence[str] = ()) -> str:
    """Return the content security policy of a page.

    Files come from the service itself. What stands in the page is run or used only if it is one of
    these texts; attributes ``style`` can place things, and load nothing.

    Args:
        scripts: the texts of its ``script`` elements.
        styles: the texts of its ``style`` elements.
    """
    script = " ".join(["'self'", *map(_digest, scripts)])
    style = " ".join(["'self'", *map(_digest, styles)])
    rules = [
        "default-src 'none'",
        f"script-src {script}",
        f"style-src {style}",
        "style-src-attr 'unsafe-inline'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    return "; ".join(rules)


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


SECURITY_HEADERS = {
    "Content-Security-Policy": page_policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # what people look like and say is kept nowhere
    "Cache-Control": "no-store",
}
"""Of every answer that does not set them itself."""
