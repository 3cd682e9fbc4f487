"""Languages by ISO code and by the English name that OpenAI's transcriptions use.

The table holds the languages Whisper was trained on.
"""

from typing import Final

_TABLE: Final = (
    "af afrikaans|am amharic|ar arabic|as assamese|az azerbaijani|ba bashkir|be belarusian|"
    "bg bulgarian|bn bengali|bo tibetan|br breton|bs bosnian|ca catalan|cs czech|cy welsh|"
    "da danish|de german|el greek|en english|es spanish|et estonian|eu basque|fa persian|"
    "fi finnish|fo faroese|fr french|gl galician|gu gujarati|ha hausa|haw hawaiian|he hebrew|"
    "hi hindi|hr croatian|ht haitian creole|hu hungarian|hy armenian|id indonesian|is icelandic|"
    "it italian|ja japanese|jw javanese|ka georgian|kk kazakh|km khmer|kn kannada|ko korean|"
    "la latin|lb luxembourgish|ln lingala|lo lao|lt lithuanian|lv latvian|mg malagasy|mi maori|"
    "mk macedonian|ml malayalam|mn mongolian|mr marathi|ms malay|mt maltese|my myanmar|ne nepali|"
    "nl dutch|nn nynorsk|no norwegian|oc occitan|pa punjabi|pl polish|ps pashto|pt portuguese|"
    "ro romanian|ru russian|sa sanskrit|sd sindhi|si sinhala|sk slovak|sl slovenian|sn shona|"
    "so somali|sq albanian|sr serbian|su sundanese|sv swedish|sw swahili|ta tamil|te telugu|"
    "tg tajik|th thai|tk turkmen|tl tagalog|tr turkish|tt tatar|uk ukrainian|ur urdu|uz uzbek|"
    "vi vietnamese|yi yiddish|yo yoruba|yue cantonese|zh chinese"
)

NAMES: Final[dict[str, str]] = {
    code: name for code, _, name in (entry.partition(" ") for entry in _TABLE.split("|"))
}
_CODES: Final[dict[str, str]] = {name: code for code, name in NAMES.items()}


def name_of(code: str) -> str:
    """The English name, in lower case; the code itself where it is not in the table."""
    return NAMES.get(code, code)


def code_of(language: str) -> str:
    """The code of what a client wrote: `EN`, `en-US`, `pt_BR` or `English`."""
    written = language.strip().lower()
    return _CODES.get(written) or written.replace("_", "-").partition("-")[0]
