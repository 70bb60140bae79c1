"""Where text comes from: one data module per kind of source, each in a module of its own."""

from unmask_text.data.files import TextFilesData
from unmask_text.data.hub import HubTextData
from unmask_text.data.pydoc import PydocData

__all__ = ["HubTextData", "PydocData", "TextFilesData"]
