"""Rows to one page that a person reads, with the whole tables as csv files."""
