"""The grammar, assembled: `GRAMMAR` binds the levels that recur, and `parse` reads the tokens of one answer.

The levels, from the outermost: answer > statement > relation > ratio > set operation > expression > term > power >
atom. Each is a function of the stream that returns a tree. Files, from the innermost: stream, gather, lookahead,
environments, brackets, bases, names, quantities, functions, commands, atoms, expressions, relations, statements; each
imports only those before it.
"""

from __future__ import annotations

from deepcompress_verify.reader.atoms import atom
from deepcompress_verify.reader.expressions import expression, power, term
from deepcompress_verify.reader.relations import relation
from deepcompress_verify.reader.statements import answer, statement
from deepcompress_verify.reader.stream import Grammar, Options, Stream
from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.tree import Node

GRAMMAR = Grammar(statement, relation, expression, term, power, atom)


def parse(tokens: list[Token], options: Options) -> Node:
    """Return the tree of the tokens of one answer, of which the last is the end token.

    Raises:
        ReadError: The tokens cannot be parsed.
    """
    if len(tokens) == 1:
        raise ReadError("empty")
    return answer(Stream(tokens, options, GRAMMAR))
