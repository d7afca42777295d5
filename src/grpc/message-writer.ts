/** So much of a message is copied, and on its way, at a time. */
const chunkBytes = 64 * 1024;

/**
 * A message in gRPC's frame, in chunks. Its parts may be shared with other messages; of what is yielded only the last chunk
 * needs to be held.
 */
export function* framed(parts: readonly Uint8Array[]): Generator<Buffer, void, void> {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  // Not compressed, and the length.
  const head = Buffer.alloc(5);
  head.writeUInt32BE(length, 1);
  let left = head.length + length;
  let chunk = Buffer.alloc(Math.min(left, chunkBytes));
  let filled = 0;
  for (const part of [head, ...parts]) {
    for (let from = 0; from < part.length; ) {
      const copied = part.subarray(from, from + chunk.length - filled);
      chunk.set(copied, filled);
      from += copied.length;
      filled += copied.length;
      if (filled < chunk.length) continue;
      yield chunk;
      left -= filled;
      chunk = Buffer.alloc(Math.min(left, chunkBytes));
      filled = 0;
    }
  }
}
