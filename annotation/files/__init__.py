"""Readers and writers of tables: files in, rows of text out. Knows limits and errors, but no models."""
