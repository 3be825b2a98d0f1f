"""The one-page report of a segmentation: picture, table, and what made it; as HTML or PDF, nothing beside the file."""

from SpineSegLib.evaluation.report.content import Report, check_date, make_report
from SpineSegLib.evaluation.report.html_page import html_page
from SpineSegLib.evaluation.report.pdf_page import write_pdf
from SpineSegLib.evaluation.report.table import table_of, with_metrics, write_table

__all__ = ["Report", "check_date", "html_page", "make_report", "table_of", "with_metrics", "write_pdf", "write_table"]
