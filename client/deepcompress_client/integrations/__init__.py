"""Adapters, one file a framework. Each imports its framework only when it is used, and this package imports
none of them: ``from deepcompress_client.integrations.trl import DeepCompressReward``.

What a framework lets us see differs; `docs/integrations/` has a page for each.
"""
