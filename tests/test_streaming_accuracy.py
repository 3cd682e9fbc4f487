"""A live session hears as well as an upload does, and tells while the speaker still speaks."""

import pytest
from voice import RECORDINGS

from bench.accuracy import figures, measure, table

pytestmark = pytest.mark.one_loop


async def test_streaming_costs_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    if not (RECORDINGS / "synthetic").is_dir():
        pytest.skip("synthetic recordings of speech are not present; set ANTIPHON_SPEECH")
    clips = await measure()
    with capsys.disabled():
        print("", table(clips), sep="\n")
    found = figures(clips)
    assert found["live_word_error_percent"] <= found["upload_word_error_percent"] + 1
    assert found["contradicted_percent"] <= 6
    assert found["early_text_percent"] >= 90
