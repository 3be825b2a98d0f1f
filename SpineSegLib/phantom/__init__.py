"""The digital spine: images with exact truth."""
