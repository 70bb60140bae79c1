"""A run into a repository of the Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from unmask.runs.trained import Run
from unmask.support.errors import UserError
from unmask.tools.hub.folder import fill_folder
from unmask.tools.hub.library import Repository, endpoint, library, told_plainly


def push(trained: Run, repository: Repository, private: bool = False, licence: str | None = None) -> str:
    """Writes a run's folder for the Hub, and uploads it in one commit; the repository is made where there is none.

    Args:
        trained: the run.
        repository: where to; a revision is a branch, which is made where there is none.
        private: whether the repository must be private: one that is made is, and a public one is refused.
        licence: as of `write_folder`.

    Returns:
        The address of the commit.

    Raises:
        UserError: no token, one that may not write there, a public repository in place of a private one, or a Hub
            that cannot be reached.
        ValueError: as `write_folder`.
    """
    hub = library()
    if not hub.get_token():
        raise UserError("To push, the Hub asks for a token that may write: `hf auth login`, or `HF_TOKEN`.")
    with tempfile.TemporaryDirectory(prefix="unmask-") as made:
        fill_folder(trained, Path(made), repository, licence)
        api = hub.HfApi(endpoint=endpoint())
        with told_plainly(repository):
            if not api.repo_exists(repository.name):
                api.create_repo(repository.name, private=private or None)
            elif private and not api.model_info(repository.name).private:
                raise UserError(f"`{repository}` is there already and public: `--private` is for one that is made.")
            if repository.revision:
                api.create_branch(repository.name, branch=repository.revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository.name, folder_path=made, revision=repository.revision,
                commit_message=f"{type(trained.model).__name__} after {trained.step:,} steps, by unmask",
            )  # fmt: skip
    return str(commit.commit_url)
