"""Readers of labelled images, one file a layout on disk."""
