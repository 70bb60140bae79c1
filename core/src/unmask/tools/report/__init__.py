"""``unmask report``: one self-contained HTML page about one run or two. Imports no torch."""

from unmask.tools.report.page import page, write_report
from unmask.tools.report.record import Record, read_record, read_records

__all__ = ["Record", "page", "read_record", "read_records", "write_report"]
