"""Piper's official voices: which of them are offered, and where each lies."""

import re

REPOSITORY = "rhasspy/piper-voices"
USUAL = "en_US-lessac-medium"
"""The one to try first."""

_NAMES = """
    en_US-lessac-medium en_US-lessac-high en_US-amy-medium en_US-hfc_female-medium
    en_US-hfc_male-medium en_US-joe-medium en_US-ryan-medium en_US-ryan-high
    en_US-libritts_r-medium en_GB-alan-medium en_GB-alba-medium en_GB-cori-high
    en_GB-jenny_dioco-medium en_GB-vctk-medium ar_JO-kareem-medium ca_ES-upc_ona-medium
    cs_CZ-jirka-medium da_DK-talesyntese-medium de_DE-thorsten-medium de_DE-thorsten-high
    el_GR-rapunzelina-low es_ES-davefx-medium es_ES-sharvard-medium es_MX-ald-medium
    fa_IR-amir-medium fi_FI-harri-medium fr_FR-siwis-medium fr_FR-upmc-medium hu_HU-anna-medium
    it_IT-paola-medium ka_GE-natia-medium lb_LU-marylux-medium nl_BE-nathalie-medium
    nl_NL-mls-medium no_NO-talesyntese-medium pl_PL-gosia-medium pt_BR-faber-medium
    ro_RO-mihai-medium ru_RU-irina-medium sk_SK-lili-medium sl_SI-artur-medium sv_SE-nst-medium
    tr_TR-dfki-medium uk_UA-ukrainian_tts-medium vi_VN-vais1000-medium zh_CN-huayan-medium
"""
VOICES = tuple(_NAMES.split())
"""Those that are shown; any other of the repository can be pulled by its name as well."""

_NAME = re.compile(
    r"(?P<language>[a-z]{2,3})_(?P<region>[A-Z]{2})-(?P<speaker>\w+)"
    r"-(?P<quality>x_low|low|medium|high)\Z"
)
_MEGABYTES = {"x_low": 28, "low": 63, "medium": 63, "high": 114}


def file_of(name: str) -> str | None:
    """Where the voice of this name lies in the repository; None for what is no such name."""
    found = _NAME.match(name)
    if found is None:
        return None
    language, region, speaker, quality = found.groups()
    return f"{language}/{language}_{region}/{speaker}/{quality}/{name}.onnx"


def megabytes(name: str) -> int:
    """About how much there is to download."""
    return _MEGABYTES[name.rpartition("-")[2]]


def speaker_of(name: str) -> str:
    """What the voice is called beside its language and quality: `lessac`."""
    return name.split("-")[1]
