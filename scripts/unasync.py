"""Generate the blocking client from the asyncio one, by replacing words.

    python scripts/unasync.py           writes _client.py and _curriculum.py of client/deepcompress_client
    python scripts/unasync.py --check   exits 1 if one of them is not up to date

If a docstring cannot be the same, the blocking one follows it, in lines that begin with ``#:``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

COMMAND = "python scripts/unasync.py"
PACKAGE = Path(__file__).resolve().parent.parent / "client" / "deepcompress_client"
MODULES = {
    "client": "# ruff: noqa: I001 (the order of imports is the source's)\n",
    "curriculum": '# ruff: noqa: I001, UP028 (the order of imports, and a loop that could be "yield from")\n',
}
"""_async_NAME.py is the source of _NAME.py, which begins with the other rules that it does not follow."""

HEADER = f"""# Generated from {{source}} by `{COMMAND}`: change that file, not this one.
"""

WORDS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\basync (?=def |for |with )", ""),
        (r"\bawait (?=\w)", ""),
        (r"\b_async_(client|concurrency|curriculum)\b", r"_\1"),
        (r"\bread_chunks_async\b", "read_chunks"),
        (r"\bAsync(Client|Curriculum|Run|Iterator|BaseTransport)\b", r"\1"),
        (r"\b__a(enter|exit)__", r"__\1__"),
        (r"\.a(close|read|iter_bytes)\b", r".\1"),
    )
]
OTHER_DOCSTRING = re.compile(r'^( *)"""(?:(?!""").)*"""\n\n?((?:\1#:[^\n]*\n)+)', re.MULTILINE | re.DOTALL)


def replaced(text: str) -> str:
    """Return source text with the asynchronous words replaced."""
    for pattern, replacement in WORDS:
        text = pattern.sub(replacement, text)
    return text


def image(source: str, header: str) -> str:
    """Return the source of the blocking module, with a header, for that of the asyncio one."""
    parts, end = [header], 0
    for match in OTHER_DOCSTRING.finditer(source):
        parts.append(replaced(source[end : match.start()]))
        parts.extend(re.sub(r"^( *)#: ?", r"\1", line).rstrip() + "\n" for line in match[2].splitlines())
        end = match.end()
    return "".join(parts) + replaced(source[end:])


def main(arguments: list[str]) -> int:
    """Write the blocking modules, or check them; return the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    for name, rules in MODULES.items():
        source, target = PACKAGE / f"_async_{name}.py", PACKAGE / f"_{name}.py"
        text = image(source.read_text("utf-8"), HEADER.format(source=source.name) + rules)
        if not arguments:
            target.write_text(text, "utf-8")
        elif not target.is_file() or target.read_text("utf-8") != text:
            print(f"{target.name} is not the image of {source.name}: run `{COMMAND}`", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
