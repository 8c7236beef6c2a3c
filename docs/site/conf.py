"""Sphinx: the documentation as a site. `make docs` builds it; site/toc.yml is its navigation.

The source folder is the repository, so that a link to any file of it works on the site and in plain Markdown alike.
"""

project = "deepcompress"
author = "The deepcompress authors"
copyright = "The deepcompress authors. Apache-2.0"
html_title = "deepcompress"

extensions = ["myst_parser", "sphinx_external_toc"]
external_toc_path = "docs/site/toc.yml"
external_toc_exclude_missing = False
include_patterns = [
    "docs/**",
    "examples/README.md",
    "experiments/*.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
]
exclude_patterns = ["docs/site"]

# Headings get the anchors of a repository's pages; a link to a missing one is a warning, which `-W` makes an error.
myst_heading_anchors = 4
nitpicky = True

# Blocks without a language are output of commands or requests.
highlight_language = "none"

html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_permalinks = True

# `make links`: addresses of the reader's own machine are examples, and anchors of other sites are made by scripts.
linkcheck_ignore = [r"http://(127\.0\.0\.1|localhost)"]
linkcheck_anchors = False
linkcheck_timeout = 30
