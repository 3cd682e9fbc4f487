// Sound as events carry it: 16-bit little-endian PCM in base64.

export function toBase64(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer)));
}

/** The samples that a base64 string holds, as floats from -1 to 1. */
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from(
    { length: bytes.length >> 1 },
    (_, index) => view.getInt16(2 * index, true) / 32_768,
  );
}
