// A conversation by OpenAI's agents SDK: `node talk.mjs URL SCENARIO` with 24 kHz PCM on standard
// input. Writes what happened as one line of JSON.

import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import { buffer } from 'node:stream/consumers';
import { z } from 'zod';
// Not exported: what the SDK itself validates events with. It ignores those that do not fit.
import { parseRealtimeEvent } from './node_modules/@openai/agents-realtime/dist/openaiRealtimeEvents.mjs';

const BYTES_PER_MESSAGE = 4800;
const MESSAGE_MS = 100;
const DEADLINE_MS = 25_000;

const [url, scenario, typed] = process.argv.slice(2);
const speech = await buffer(process.stdin);

const seen = { errors: [], ignored: [], audioBytes: 0, interruptions: 0, tools: [], turns: 0 };
let news = () => {};

const weather = tool({
  name: 'weather',
  description: 'The weather of a city.',
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny, ${city.length} degrees`,
});
const agent = new RealtimeAgent({ name: 'Guide', instructions: 'Be brief.', tools: [weather] });
const config = scenario === 'text' ? { outputModalities: ['text'] } : {};
const session = new RealtimeSession(agent, { config });

function on(name, record) {
  session.on(name, (...told) => {
    record(...told);
    news();
  });
}

on('error', (error) => seen.errors.push(error));
on('audio', (event) => (seen.audioBytes += event.data.byteLength));
on('audio_interrupted', () => (seen.interruptions += 1));
on('agent_tool_end', (_context, _agent, _tool, result) => seen.tools.push(result));
on('agent_end', () => (seen.turns += 1));
on('history_updated', () => {});
on('transport_event', (event) => {
  if (parseRealtimeEvent({ data: JSON.stringify(event) }).isGeneric) seen.ignored.push(event.type);
});

function history() {
  return session.history
    .filter((item) => item.type === 'message')
    .map((item) => [item.role, item.content.map((c) => c.text ?? c.transcript ?? '').join('')]);
}

async function until(reached) {
  const begun = Date.now();
  while (!reached() && seen.errors.length === 0) {
    if (Date.now() - begun > DEADLINE_MS) throw new Error(`nothing came: ${report()}`);
    await new Promise((resolve) => {
      news = resolve;
      setTimeout(resolve, 200);
    });
  }
}

async function speak(pace) {
  for (let start = 0; start < speech.length; start += BYTES_PER_MESSAGE) {
    const piece = new Uint8Array(speech.subarray(start, start + BYTES_PER_MESSAGE));
    session.sendAudio(piece.buffer);
    await new Promise((resolve) => setTimeout(resolve, MESSAGE_MS / pace));
  }
}

const scenarios = {
  async text() {
    session.sendMessage(typed);
    await until(() => seen.turns === 1);
  },
  async speech() {
    await speak(2);
    await until(() => seen.turns === 1);
  },
  async tool() {
    await speak(2);
    await until(() => seen.turns === 2);
  },
  async interruption() {
    session.sendMessage(typed);
    await until(() => seen.audioBytes > 48_000);
    await speak(1);
    await until(() => seen.turns === 2);
  },
};

function report() {
  return JSON.stringify({ ...seen, history: history() });
}

await session.connect({ apiKey: 'sk-local', url });
await scenarios[scenario]();
// What the server still answers to the last event must not be an error either.
await new Promise((resolve) => setTimeout(resolve, 200));
console.log(report());
session.close();
