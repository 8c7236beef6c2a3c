"""A bounded view of what runs did lately, for the dashboard and per-run metrics. Nothing here changes an answer."""
