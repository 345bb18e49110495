"""The site: one run on a data set, or two beside each other."""

from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from emotailor.browse.choice import Choice
from emotailor.browse.evidence import Evidence
from emotailor.browse.judged import Judged
from emotailor.browse.lists import list_page
from emotailor.browse.sample import Looked, sample_page
from emotailor.report.page import STYLE_FILE
from emotailor.service.access import Access
from emotailor.service.assets import CSS, SCRIPT, Asset
from emotailor.service.site import Site, new_site, not_there

FOLDER = Path(__file__).with_name("pages")

STATIC = {
    "page.css": Asset(STYLE_FILE, CSS),
    "browse.css": Asset(FOLDER / "browse.css", CSS),
    "browse.js": Asset(FOLDER / "browse.js", SCRIPT),
}
"""Name below ``/static/`` -> what it is."""


def new_browser(one: Judged, other: Judged | None, access: Access) -> Site:
    """Return the site of one run, or of two.

    Args:
        one: the answers of a run.
        other: those of a second one on the same samples; None for none.
        access: who may ask.
    """
    site = new_site("emotailor", access, STATIC)
    looked = Looked(one, Evidence(one))
    beside = None if other is None else Looked(other, Evidence(other))

    def choice_of(request: Request) -> Choice:
        return Choice.of(dict(request.query_params), one, is_pair=other is not None)

    # functions of their own threads: evidence takes a while
    @site.api.get("/", include_in_schema=False)
    def samples(request: Request) -> Response:
        return HTMLResponse(list_page(one, other, choice_of(request)).to_html())

    @site.api.get("/sample/{number}", include_in_schema=False)
    def sample(number: str, request: Request) -> Response:
        is_number = number.isascii() and number.isdigit() and len(number) < 12
        if not is_number or int(number) >= len(one):
            raise not_there(f"no sample {number[:40]!r}", fix=f"there are 0 to {len(one) - 1}")
        label = request.query_params.get("evidence", "")
        page = sample_page(looked, beside, int(number), choice_of(request), label)
        return HTMLResponse(page.to_html())

    return site
