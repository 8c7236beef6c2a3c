"""Adapters, one file per framework: ``from deepcompress_client.integrations.trl import DeepCompressReward``.

Each imports its framework only when it is used, and this package imports none of them. The frameworks give their
hooks different data; `docs/integrations/` has a page for each.
"""
