"""The conversation's pure modules, run inside Chromium: what was heard, how long it took."""

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.one_loop

FAKE_CONTEXT = """
class FakeContext {
    currentTime = 10; outputLatency = 0; baseLatency = 0; sources = [];
    destination = {};
    createAnalyser() { return { connect() {}, getFloatTimeDomainData() {} }; }
    createBuffer(channels, length, rate) { return { length, rate, copyToChannel() {} }; }
    createBufferSource() {
        const source = { connect() {} };
        source.start = (at) => (source.at = at);
        source.stop = () => (source.stopped = true);
        this.sources.push(source);
        return source;
    }
    resume() { return Promise.resolve(); }
}
const { Player } = await import("/web/player.js");
const context = new FakeContext();
const player = new Player(() => context);
const samples = (ms) => new Float32Array(24 * ms);
"""


def test_what_was_heard_is_counted_by_the_clock_less_what_is_on_its_way(blank: Page) -> None:
    got = blank.evaluate(
        f"""async () => {{
            {FAKE_CONTEXT}
            context.outputLatency = 0.02;
            player.push("a", 0, samples(400));
            player.push("a", 0, samples(400));
            const starts = context.sources.map(({{ at }}) => at);
            context.currentTime = starts[0] + 0.5209;
            const cut = player.flush();
            const stopped = context.sources.map((source) => source.stopped);
            return [starts[1] - starts[0], cut, stopped, player.flush()];
        }}"""
    )
    assert got[0] == pytest.approx(0.4)
    assert got[1] == [{"item": "a", "index": 0, "ms": 500}]
    assert got[2:] == [[True, True], []]


def test_a_pause_in_the_sound_is_not_counted_as_heard(blank: Page) -> None:
    got = blank.evaluate(
        f"""async () => {{
            {FAKE_CONTEXT}
            player.push("a", 0, samples(100));
            context.currentTime += 2;
            player.push("a", 0, samples(1000));
            context.currentTime = context.sources[1].at + 0.25;
            return player.flush();
        }}"""
    )
    assert got == [{"item": "a", "index": 0, "ms": 350}]


def test_an_item_heard_to_its_end_is_not_cut_and_one_not_begun_is(blank: Page) -> None:
    got = blank.evaluate(
        f"""async () => {{
            {FAKE_CONTEXT}
            player.push("a", 0, samples(100));
            player.push("b", 0, samples(100));
            player.push("c", 1, samples(100));
            context.currentTime = context.sources[1].at + 0.05;
            return player.flush();
        }}"""
    )
    assert got == [{"item": "b", "index": 0, "ms": 50}, {"item": "c", "index": 1, "ms": 0}]


def test_the_player_says_once_that_all_was_heard(blank: Page) -> None:
    got = blank.evaluate(
        f"""async () => {{
            {FAKE_CONTEXT}
            let drained = 0;
            player.addEventListener("drained", () => (drained += 1));
            player.push("a", 0, samples(100));
            player.push("a", 0, samples(100));
            context.sources[0].onended();
            const before = [drained, player.playing];
            context.currentTime += 1;
            context.sources[1].onended();
            return [...before, drained, player.playing, player.flush()];
        }}"""
    )
    assert got == [0, True, 1, False, []]


def test_pcm_survives_base64(blank: Page) -> None:
    got = blank.evaluate(
        """async () => {
            const { fromBase64, toBase64 } = await import("/web/pcm.js");
            const pcm = new Int16Array([0, 16384, -32768, 32767]);
            return [...fromBase64(toBase64(pcm.buffer))];
        }"""
    )
    assert got == pytest.approx([0, 0.5, -1, 32767 / 32768])


def test_a_turn_s_latency_goes_to_the_answer_that_its_tools_led_to(blank: Page) -> None:
    got = blank.evaluate(
        """async () => {
            const { Latencies } = await import("/web/latency.js");
            let now = 0;
            const latencies = new Latencies(() => now);
            latencies.begin("u", 500);
            now = 100; latencies.transcribed("u");
            now = 150; latencies.respond("r1");
            now = 200; latencies.end("r1");
            latencies.respond("r2");
            now = 300; latencies.came("word", "r2", "a");
            now = 350; latencies.came("word", "r2", "a");
            now = 400;
            return [latencies.came("sound", "r2", "a"), latencies.came("sound", "r2", "a")];
        }"""
    )
    turn = {"silence": 500, "transcript": 100, "word": 300, "sound": 400, "entry": "a"}
    assert got == [turn, None]


def test_a_transcript_that_comes_after_the_answer_still_counts(blank: Page) -> None:
    got = blank.evaluate(
        """async () => {
            const { Latencies } = await import("/web/latency.js");
            let now = 0;
            const latencies = new Latencies(() => now);
            latencies.begin(null, null);
            latencies.name("u");
            latencies.respond("r");
            now = 50; latencies.came("word", "r", "a");
            now = 80;
            return [latencies.transcribed("u"), latencies.transcribed("u")];
        }"""
    )
    assert got[0]["transcript"] == 80
    assert got[1] is None


def test_a_conversation_is_told_again_by_its_latest_items(blank: Page) -> None:
    got = blank.evaluate(
        """async () => {
            const { Dialogue } = await import("/web/dialogue.js");
            const dialogue = new Dialogue();
            for (let i = 0; i < 1010; i += 1) dialogue.add(`i${i}`, "user", { text: `t${i}` });
            dialogue.add("c", "tool", { call: "k", name: "n", arguments: "{}", result: "7" });
            dialogue.add("d", "tool", { call: "l", name: "n", arguments: "{}" });
            dialogue.add("n", "note", { title: "T", text: "shown" });
            dialogue.add("a", "assistant");
            const items = dialogue.toItems();
            return [dialogue.entries.length, items.length, items[0].id, items.slice(-2)];
        }"""
    )
    count, told, first, last = got
    assert count == 1000
    assert told == 96 + 2
    assert first == "i914"
    assert last == [
        {"id": "c", "type": "function_call", "call_id": "k", "name": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "k", "output": "7"},
    ]


def test_the_time_is_told_with_its_zone(blank: Page) -> None:
    got = blank.evaluate(
        """async () => {
            const { run } = await import("/web/tools.js");
            return JSON.parse(run("current_time", "", {}));
        }"""
    )
    assert set(got) == {"time", "timeZone"}
    assert "20" in got["time"]
