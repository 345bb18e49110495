"""The service: a model behind HTTP."""

from fastapi import Response

from emotailor.service.access import Access
from emotailor.service.assets import FRONT, STATIC
from emotailor.service.site import Site, answer, new_site


def new_service(access: Access) -> Site:
    """Return the site of a model."""
    site = new_site("emotailor", access, STATIC)

    @site.api.get("/", include_in_schema=False)
    async def front() -> Response:
        return answer(FRONT)

    return site
