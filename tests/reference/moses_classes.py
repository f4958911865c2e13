"""Writes plugins/src/nn/tokenizer/moses_classes.rs: which characters are letters, digits and lower-case for sacremoses.

    python moses_classes.py > ../../plugins/src/nn/tokenizer/moses_classes.rs   # then: cargo fmt

sacremoses takes its character classes from the tables of one version of Perl, so that no Unicode library agrees with it: Chinese
characters are no letters there, superscript digits no digits of a word, and letters of newer Unicode versions are unknown.
"""

from sacremoses import __version__
from sacremoses.tokenize import MosesTokenizer

HEAD = f"""//! Character classes of sacremoses {__version__}, written by `tests/reference/moses_classes.py`.
//!
//! They are those of an old version of Perl, which no Unicode table of today equals. Each class is a list of boundaries: a character
//! belongs to the class if an odd number of boundaries lies at or below it.
"""

LOOKUP = """
/// Whether the character belongs to the class with these boundaries.
fn within(boundaries: &[u32], character: char) -> bool {
    boundaries.partition_point(|&boundary| boundary <= u32::from(character)) % 2 == 1
}
"""

FUNCTION = """
/// {doc}
pub(super) fn {name}(character: char) -> bool {{
    if character.is_ascii() {{ character.{ascii}() }} else {{ within(&{table}, character) }}
}}
"""

CLASSES = [
    ("IsAlnum", "ALPHANUMERIC", "is_alphanumeric", "is_ascii_alphanumeric", "A letter, a mark that stands in words, or a decimal digit."),
    ("IsAlpha", "ALPHABETIC", "is_alphabetic", "is_ascii_alphabetic", "A letter or a mark that stands in words."),
    ("IsN", "NUMERIC", "is_numeric", "is_ascii_digit", "A number of any kind, superscripts and fractions included."),
    ("IsLower", "LOWERCASE", "is_lowercase", "is_ascii_lowercase", "A lower-case letter."),
]


def boundaries(characters):
    """The code points at which membership changes, beyond ASCII."""
    points = sorted({ord(c) for c in characters if ord(c) > 127})
    out = []
    for point in points:
        if out and out[-1] == point:
            out[-1] = point + 1
        else:
            out += [point, point + 1]
    return out


def main():
    print(HEAD)
    for attribute, table, name, ascii_test, doc in CLASSES:
        members = getattr(MosesTokenizer, attribute)
        # A line feed counts as a number there, but no text holds one when the class is asked for.
        in_ascii = {c for c in members if c.isascii() and c != "\n"}
        tests = {"is_ascii_alphanumeric": str.isalnum, "is_ascii_alphabetic": str.isalpha, "is_ascii_digit": str.isdigit, "is_ascii_lowercase": str.islower}
        assert in_ascii == {chr(c) for c in range(128) if tests[ascii_test](chr(c))}, attribute
        print(FUNCTION.format(doc=doc, name=name, ascii=ascii_test, table=table))
    print(LOOKUP)
    for attribute, table, *_ in CLASSES:
        numbers = boundaries(getattr(MosesTokenizer, attribute))
        print(f"const {table}: [u32; {len(numbers)}] = [{', '.join(f'{n:#x}' for n in numbers)}];\n")


main()
