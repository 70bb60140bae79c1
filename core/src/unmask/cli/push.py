"""``unmask push``: a run into a repository of the Hub, with a model card."""

from __future__ import annotations

from pathlib import Path

from unmask.support.arguments import Arguments
from unmask.support.errors import GOOD, UserError


def run(command: str, arguments: list[str]) -> int:
    """Read a run back, write its folder for the Hub, and upload it."""
    parser = Arguments(command, "Weights, config, results, pictures and a model card of a run, into the Hub.")
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("repository", help="where to: org/name")
    parser.add_argument("--private", action="store_true", help="make a private repository; a public one is refused")
    parser.add_argument("--revision", help="the branch to write to; default: the main one")
    parser.add_argument("--licence", help="identifier of the weights' licence, such as apache-2.0; default: none")
    parser.add_argument("--dry_run", metavar="FOLDER", help="write the files to FOLDER, and upload nothing")
    given = parser.parse_args(arguments)

    from unmask.tools.hub.library import Repository, library

    repository = Repository.of(given.repository, given.revision)
    library()  # before a run is read

    from unmask.runs.trained import load_run
    from unmask.tools.hub.folder import write_folder
    from unmask.tools.hub.push import push

    trained = load_run(given.run)
    try:
        if given.dry_run:
            write_folder(trained, Path(given.dry_run), repository, given.licence)
            print(f"{trained.about}\nWritten to {given.dry_run}, nothing was uploaded")
        else:
            address = push(trained, repository, given.private, given.licence)
            print(f"{trained.about}\nPushed: {address}\n\nunmask import hf://{repository.name}")
    except ValueError as error:
        raise UserError(str(error)) from error
    return GOOD
