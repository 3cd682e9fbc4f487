// Transcribes files through the REST route, segment by segment.

import { ask } from "./api.js";

// The data of each server-sent event; comments are keep-alive.
async function* serverSentEvents(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/u);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  }
}

function form(file, { model, language }) {
  const data = new FormData();
  data.append("model", model ?? "");
  if (language) data.append("language", language);
  data.append("stream", "true");
  data.append("response_format", "json");
  data.append("timestamp_granularities[]", "segment");
  data.append("file", file, file.name);
  return data;
}

/**
 * Yields {start, end, text} for each segment as the server finishes it. Throws ApiError with a
 * sentence, or the signal's AbortError.
 */
export async function* transcribe(file, choices, signal) {
  const response = await ask("v1/audio/transcriptions", {
    method: "POST",
    body: form(file, choices),
    signal,
  });
  let finished = false;
  for await (const data of serverSentEvents(response.body)) {
    if (data === "[DONE]") continue;
    const event = JSON.parse(data);
    if (event.error) throw new Error(event.error.message);
    if (event.type === "transcript.text.done") finished = true;
    if (event.type === "transcript.text.delta") {
      yield { start: event.start ?? 0, end: event.end ?? null, text: event.delta };
    }
  }
  if (!finished) throw new Error("The server stopped before the end of the file.");
}
