"""Memory as text. What other modules say of it without reading any is here: the rest costs time."""

BYTES, WORDS, EITHER = "bytes", "words", "either"  # what the groups of digits may be
STRUCT, ARRAY, LITERAL = "printed struct", "array", "bytes literal"
STRUCT_KIND = f"{STRUCT} text"
