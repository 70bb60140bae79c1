"""Which files this plugin trains on when a folder alone is given."""

from __future__ import annotations

from unmask.data import OwnFiles
from unmask_graph.data.files import IN_FOLDERS


class Graphs(OwnFiles):
    """Graphs, by `graph/graphmae-files`."""

    what = "graphs"
    endings = IN_FOLDERS
    recipe = "graph/graphmae-files"
    option = "paths"
    several = True
