// Transcripts as text and as subtitles. Input: rows of [start, end, text], times in seconds.

const LINE = 42;
const LINES = 2;
const SHORTEST = 1;

/** 75 → "01:15", 3675 → "1:01:15". */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const rest = `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return whole < 3600 ? rest : `${Math.floor(whole / 3600)}:${rest}`;
}

export function toText(rows) {
  return rows.map(([, , text]) => `${text}\n`).join("");
}

function stamp(seconds) {
  const ms = Math.round(seconds * 1000);
  const part = (unit, base, digits) =>
    String(Math.floor(ms / unit) % base).padStart(digits, "0");
  const time = [part(3_600_000, 100, 2), part(60_000, 60, 2), part(1000, 60, 2)].join(":");
  return `${time},${part(1, 1000, 3)}`;
}

// Words gathered into lines.
function wrap(text) {
  const lines = [];
  for (const word of text.split(/\s+/u)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= LINE) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else {
      lines.push(word);
    }
  }
  return lines;
}

// A long utterance becomes several cues that share its time by their length.
function cues(start, end, text) {
  const lines = wrap(text);
  const total = lines.reduce((sum, line) => sum + line.length, 0);
  const made = [];
  let from = start;
  for (let i = 0; i < lines.length; i += LINES) {
    const some = lines.slice(i, i + LINES);
    const length = some.reduce((sum, line) => sum + line.length, 0);
    const to = from + ((end - start) * length) / total;
    made.push({ from, to, text: some.join("\n") });
    from = to;
  }
  return made;
}

export function toSrt(rows) {
  const all = rows.flatMap(([start, end, text], index) => {
    const next = rows[index + 1]?.[0] ?? Infinity;
    const wanted = Math.max(end ?? start + text.length / 15, start + SHORTEST);
    return cues(start, next > start ? Math.min(wanted, next) : wanted, text);
  });
  return all
    .map(({ from, to, text }, index) => `${index + 1}\n${stamp(from)} --> ${stamp(to)}\n${text}\n`)
    .join("\n");
}

/** Let the browser save `content` as a file. */
export function save(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
