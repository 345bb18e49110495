"""A service in a process of its own: ``python -m tests.service.process RUN``.

Signals, processes and folders are those of the command; a video takes as long as its bytes say.
"""

import sys
from pathlib import Path


def main() -> None:
    """Serve until a signal comes, as the command does."""
    # the processes that extract import this module, too
    from emotailor.service import videos
    from emotailor.service.access import Access
    from emotailor.service.app import Service
    from emotailor.service.run import run_site
    from tests.service.serving import made_job
    from tests.service.tasks import extract

    vars(videos).update(LAST_LOOK=0.5, extract_upload=extract)
    service = Service(made_job(Path(sys.argv[1])), Access())
    with service.running():
        run_site(
            service.site,
            port=0,
            tell=lambda address: print(address, flush=True),
            finish=service.finish,
        )
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
