"""The worklet's resampler, run inside Chromium on a minute of sound."""

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.one_loop

MEASURE = """
async ([inputRate, seconds, hertz, block]) => {
  const { Resampler } = await import("/web/resampler-worklet.js");
  const resampler = new Resampler(inputRate);
  const total = inputRate * seconds;
  const output = new Float32Array(24000 * seconds + 4096);
  const piece = new Float32Array(resampler.room(block) + resampler.tail);
  let length = 0;
  const keep = (count) => {
    output.set(piece.subarray(0, count), length);
    length += count;
  };
  for (let at = 0; at < total; at += block) {
    const input = Float32Array.from({ length: Math.min(block, total - at) }, (_, i) =>
      0.5 * Math.sin((2 * Math.PI * hertz * (at + i)) / inputRate));
    keep(resampler.process(input, piece));
  }
  keep(resampler.flush(piece));
  let signal = 0;
  let noise = 0;
  let power = 0;
  for (let i = 2400; i < length - 2400; i += 1) {
    const wanted = 0.5 * Math.sin((2 * Math.PI * hertz * i) / 24000);
    signal += wanted ** 2;
    noise += (output[i] - wanted) ** 2;
    power += output[i] ** 2;
  }
  const decibels = (a, b) => 10 * Math.log10(a / b);
  return {
    length,
    snr: decibels(signal, noise),
    level: decibels(power / (length - 4800), 0.125),
  };
}
"""


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000, 96_000])
def test_a_minute_of_a_tone_keeps_its_length_phase_and_purity(blank: Page, rate: int) -> None:
    got = blank.evaluate(MEASURE, [rate, 60, 1000, 128])
    assert abs(got["length"] - 24_000 * 60) <= 1
    assert got["snr"] > 60


@pytest.mark.parametrize(("rate", "hertz"), [(48_000, 15_000), (44_100, 13_000), (48_000, 23_000)])
def test_sound_above_the_new_rate_does_not_fold_back(blank: Page, rate: int, hertz: int) -> None:
    assert blank.evaluate(MEASURE, [rate, 5, hertz, 128])["level"] < -60


def test_blocks_of_any_size_give_the_same_sound(blank: Page) -> None:
    whole, pieces = (blank.evaluate(MEASURE, [44_100, 5, 440, block]) for block in (4096, 61))
    assert whole == pieces
