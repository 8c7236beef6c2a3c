"""Comparison of two trees: tiers from exact rationals to agreement at points, and the rules of judgement."""
