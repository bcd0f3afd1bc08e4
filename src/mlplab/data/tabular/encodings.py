"""Detect the encoding of a text, and propose one where it cannot be known.

UTF-8 and UTF-16 can be recognized with certainty. Text of Western Europe is read as cp1252. For
other text, encodings are proposed with what the text says in them: a wrong one would silently turn
names and categories into other characters.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from mlplab.data.tabular.frequent_characters import FREQUENT

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order mark -> encoding, longer ones first."""
WESTERN = "cp1252"
_MAX_UNUSUAL = 0.1
"""The largest fraction of unusual runs of accented characters in a Western text."""
_MIN_USUAL = 0.85
"""The smallest fraction of usual characters in text of an encoding that is proposed."""
_MAX_PROPOSED = 3
_MAX_BEHIND = 0.5
"""Proposals score at most this much less than the most likely one."""
_MAX_SCORED = 2000
"""As many characters are scored."""

_PUNCTUATION = "\u00a0«»‘’“”‹›…–—¿¡„‚"  # noqa: RUF001
_OPENING = "‚„¿¡"  # noqa: RUF001
_SYMBOLS = "¢£¤¥¦§¨©¬®¯°±²³´µ¶·¸¹º¼½¾ª×÷ˆ˜‰†‡•™€ƒ\u00ad"  # noqa: RUF001
_ACUTE = "\u00b4"
_BETWEEN_LETTERS = _ACUTE + "·\u00ad"
"""Symbols that stand between letters: an apostrophe, the Catalan middle dot, a soft hyphen."""
_AROUND_CELLS = ("", ",", ";", "\t", "|", "\n", "\r", '"')


@dataclass(frozen=True)
class Proposal:
    """An encoding that a text may have, with the language and a sample of the text read with it."""

    encoding: str
    language: str
    sample: str

    def __str__(self) -> str:
        return f"{self.encoding} ({self.language}: {self.sample})"


def recognized_encoding(text: bytes, is_complete: bool) -> str | None:
    """Return the encoding of a text if it is UTF-8, UTF-16, UTF-32 or that of Western Europe.

    Args:
        text: the text, or the start of one.
        is_complete: whether it ends where the text does, and not in the middle of a character.
    """
    for mark, encoding in MARKS:
        if text.startswith(mark):
            return encoding
    if wide := _unmarked_utf16(text):
        return wide
    if decoded(text, "utf-8", is_complete) is not None:
        return "utf-8"
    western = decoded(text, WESTERN, is_complete)
    return WESTERN if western is not None and _is_western(western) else None


def proposals(text: bytes, is_complete: bool) -> list[Proposal]:
    """Return the encodings in which a text looks like a language, the most likely one first."""
    scored: list[tuple[float, Proposal]] = []
    for encoding, language, score in _CANDIDATES:
        content = decoded(text, encoding, is_complete)
        if content is None or (encoding == "cp932" and scored and "shift_jis" in str(scored[-1])):
            continue
        characters = [c for c in content if ord(c) > 127][:_MAX_SCORED]
        if characters and (value := score(content, characters)) >= _MIN_USUAL:
            frequent = sum(c in FREQUENT[language] for c in characters) / len(characters)
            scored.append((value + frequent, Proposal(encoding, language, _sample(content))))
    scored.sort(key=lambda pair: -pair[0])  # stable: equal ones in their order
    best = scored[0][0] if scored else 0.0
    likely = [proposal for value, proposal in scored if value > best - _MAX_BEHIND]
    return likely[:_MAX_PROPOSED]


def decoded(text: bytes, encoding: str, is_complete: bool = True) -> str | None:
    """Return the text in an encoding, or None if it is not in it."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(text, final=is_complete)
    except UnicodeDecodeError:
        return None


def share_of_utf8(text: bytes) -> float:
    """Return the fraction of the non-ASCII bytes that are valid in UTF-8."""
    total = sum(byte > 127 for byte in text)
    valid = text.decode("utf-8", errors="ignore")
    return sum(len(c.encode()) for c in valid if ord(c) > 127) / total if total else 1.0


def _unmarked_utf16(text: bytes) -> str | None:
    """Return the UTF-16 of a text without a byte order mark, by the zeros of its ASCII characters.

    A table has them in each line, whatever its language: delimiters, digits and line endings.
    """
    even, odd = text[: len(text) // 2 * 2 : 2].count(0), text[1::2].count(0)
    if max(even, odd) < 0.05 * len(text) or max(even, odd) < 3 * min(even, odd):
        return None
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    return encoding if "\n" in (decoded(text, encoding, is_complete=False) or "") else None


def _is_western(text: str) -> bool:
    runs = list(re.finditer(r"[^\x00-\x7f]+", text))
    unusual = sum(_is_unusual(text, run.start(), run.end()) for run in runs)
    return unusual <= _MAX_UNUSUAL * len(runs)


def _is_unusual(text: str, start: int, end: int) -> bool:
    """Whether Western text would not have this run of characters beyond ASCII."""
    run = text[start:end]
    before, after = text[start - 1 : start], text[end : end + 1]
    content = run.strip(_PUNCTUATION)
    if not content:
        return run[0] in _OPENING and before.isalpha()
    before, after = before if content[0] == run[0] else "", after if content[-1] == run[-1] else ""
    if any(c in _SYMBOLS for c in content):
        return _is_unusual_symbol(content, before, after)
    if len(content) > 2 or any(c in _PUNCTUATION for c in content):
        return True
    if content[0].isupper() and before.islower():
        return True
    if content in "ìù" and after.isalpha():  # in Italian and French, these end a word
        return True
    if len(content) == 1:  # a letter that is a whole cell
        return content == run and before in _AROUND_CELLS and after in _AROUND_CELLS
    doubled = content[0].lower() == content[1].lower()
    return not doubled and content == run and not (before + after).strip().isalpha()


def _is_unusual_symbol(content: str, before: str, after: str) -> bool:
    if len(content) > 1:
        return content != _ACUTE * len(content)
    if content in _BETWEEN_LETTERS:
        return False
    if before.isalpha() and after.isalpha():
        return True
    if content in "¬¦¨¯\u00b8¶±" and (before + after).strip().isalpha():
        return True
    return content in "£¥¤" and after.islower()


def _sample(text: str) -> str:
    """Return some words of the text that are not ASCII, quoted."""
    samples = re.findall(r"[^\W\d_]*[^\x00-\x7f\W][^\W\d_]*", text)
    return ", ".join(f"'{sample[:20]}'" for sample, _ in Counter(samples).most_common(3))


def _korean(text: str, characters: list[str]) -> float:
    """The fraction of the 2,350 syllables of KS X 1001."""
    usual = sum(0xB0 <= _lead_byte(c, "euc_kr") <= 0xC8 for c in characters)
    return usual / len(characters)


def _japanese(text: str, characters: list[str]) -> float:
    """The fraction of kana and of kanji of level 1, of which Japanese text has both."""
    usual = sum("\u3040" <= c <= "\u30ff" or _lead_byte(c, "shift_jis") < 0x98 for c in characters)
    return usual / len(characters)


def _simplified(text: str, characters: list[str]) -> float:
    """The fraction of the 3,755 hanzi of level 1 of GB 2312."""
    return sum(0xB0 <= _lead_byte(c, "gb2312") <= 0xD7 for c in characters) / len(characters)


def _traditional(text: str, characters: list[str]) -> float:
    """The fraction of the 5,401 frequently used hanzi of Big5."""
    return sum(0xA4 <= _lead_byte(c, "big5") <= 0xC6 for c in characters) / len(characters)


def _lead_byte(character: str, encoding: str) -> int:
    """Return the first byte of a two-byte character; 256 if it is not in the encoding."""
    try:
        encoded = character.encode(encoding)
    except UnicodeEncodeError:
        return 256
    return encoded[0] if len(encoded) == 2 else 256


def _alphabet(script: str) -> Callable[[str, list[str]], float]:
    """Return a score: the fraction of the characters of a script, less what capitals inside words
    and words of two scripts cost.
    """

    def score(text: str, characters: list[str]) -> float:
        letters = sum(unicodedata.name(c, "").startswith(script) for c in characters)
        wrong = sum(
            a.isalpha()
            and b.isalpha()
            and ((a < "\x80") != (b < "\x80") or (b > "\x7f" and a.islower() and b.isupper()))
            for a, b in pairwise(text)
        )
        return (letters - 3 * wrong) / len(characters)

    return score


def _central_european(text: str, characters: list[str]) -> float:
    """The fraction of runs that Western text could have, were the letters those of the West."""
    letters = sum(c.isalpha() for c in characters) / len(characters)
    usual = [c for c in characters if c in "ąćęłńóśźżĄĆĘŁŃÓŚŹŻáčďéěíňřšťúůýžÁČĎÉĚÍŇŘŠŤÚŮÝŽőűöüÖÜŐŰ"]
    runs = re.findall(r"[^\x00-\x7f]{4,}", text)
    return min(letters, len(usual) / len(characters)) - (0.5 if runs else 0.0)


_CANDIDATES: tuple[tuple[str, str, Callable[[str, list[str]], float]], ...] = (
    ("cp949", "Korean", _korean),
    ("shift_jis", "Japanese", _japanese),
    ("cp932", "Japanese", _japanese),
    ("euc_jp", "Japanese", _japanese),
    ("gb18030", "Chinese", _simplified),
    ("big5", "Chinese", _traditional),
    ("cp1251", "Cyrillic", _alphabet("CYRILLIC")),
    ("koi8_r", "Cyrillic", _alphabet("CYRILLIC")),
    ("cp866", "Cyrillic", _alphabet("CYRILLIC")),
    ("cp1253", "Greek", _alphabet("GREEK")),
    ("cp1255", "Hebrew", _alphabet("HEBREW")),
    ("cp1256", "Arabic", _alphabet("ARABIC")),
    ("cp874", "Thai", _alphabet("THAI")),
    ("cp1250", "Central European", _central_european),
)
"""Encoding, language, and score of (text, its characters beyond ASCII), from 0 to 1."""
