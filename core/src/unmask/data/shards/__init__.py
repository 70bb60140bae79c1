"""Data in shards: tar files of WebDataset's kind with an index beside them, in a folder or behind a URL."""

from unmask.data.shards.chunk_source import LitChunks
from unmask.data.shards.foreign import index_folder
from unmask.data.shards.index import INDEX, Index, Shard, ShardError, read_index
from unmask.data.shards.order import Nearby
from unmask.data.shards.packing import Packed, packed
from unmask.data.shards.plan import Entry, Plan, fingerprint
from unmask.data.shards.source import Shards, Stored
from unmask.data.shards.store import ShardStore
from unmask.data.shards.writing import write_shards

__all__ = [
    "INDEX",
    "Entry",
    "Index",
    "LitChunks",
    "Nearby",
    "Packed",
    "Plan",
    "Shard",
    "ShardError",
    "ShardStore",
    "Shards",
    "Stored",
    "fingerprint",
    "index_folder",
    "packed",
    "read_index",
    "write_shards",
]
