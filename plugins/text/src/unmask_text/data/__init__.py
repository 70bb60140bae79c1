"""Where text comes from: a data module for each kind of source, and `TextData` for any other source."""

from unmask_text.data.files import TextFilesData
from unmask_text.data.hub import HubTextData
from unmask_text.data.pydoc import PydocData
from unmask_text.data.shards import TextShardsData
from unmask_text.data.sources import TextSource
from unmask_text.data.text import TextData

__all__ = ["HubTextData", "PydocData", "TextData", "TextFilesData", "TextShardsData", "TextSource"]
