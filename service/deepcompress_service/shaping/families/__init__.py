"""The published rules, one module a family. Each module ends in `STRATEGIES`, what the registry takes from it."""
