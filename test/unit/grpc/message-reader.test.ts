import { deepStrictEqual, ok, throws } from 'node:assert/strict';
import fc from 'fast-check';
import { MessageReader } from '../../../src/grpc/message-reader.ts';
import { framed } from '../../../src/grpc/message-writer.ts';

const pieces = (bytes: Uint8Array, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  );

function read(stream: Iterable<Uint8Array>, maxBytes = 1 << 30): string[] {
  const reader = new MessageReader(maxBytes);
  const messages: string[] = [];
  for (const piece of stream) reader.feed(piece, (message) => messages.push(Buffer.from(message).toString('latin1')));
  reader.end();
  return messages;
}

describe('messages of a call', () => {
  it('are what was written, in whatever pieces they come (property)', () => {
    const message = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 4 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), fc.integer({ min: 1, max: 400 }), (messages, size) => {
        const stream = Buffer.concat(messages.flatMap((parts) => [...framed(parts)]));
        deepStrictEqual(
          read(pieces(stream, size)),
          messages.map((parts) => Buffer.concat(parts).toString('latin1')),
        );
      }),
    );
  });

  it('R37 cost as much time as they have bytes, in however many pieces they come', () => {
    const message = Buffer.concat([...framed([Buffer.alloc(8 * 1024 * 1024, 'x')])]);
    const begun = performance.now();
    const [text] = read(pieces(message, 16));
    ok(text?.length === 8 * 1024 * 1024);
    ok(performance.now() - begun < 5_000, `${performance.now() - begun} ms`);
  });

  it('R37 take memory as they come, not as they are announced', () => {
    const before = process.memoryUsage().arrayBuffers;
    const announced = Buffer.from([0, 0, 0x7f, 0xff, 0xff]);
    const readers = Array.from({ length: 100 }, () => new MessageReader(1 << 30));
    for (const reader of readers) reader.feed(Buffer.concat([announced, Buffer.alloc(10)]), () => {});
    const more = process.memoryUsage().arrayBuffers - before;
    ok(more < 4 * 1024 * 1024, `${more} bytes for 100 messages of 8 MiB that have not come`);
  });

  it('are refused when they are too long, compressed, or cut off', () => {
    const long = Buffer.concat([...framed([Buffer.alloc(11)])]);
    throws(() => read([long.subarray(0, 5)], 10), { code: 'RESOURCE_EXHAUSTED' });
    throws(() => read([Buffer.from([1, 0, 0, 0, 1, 0])]), { code: 'UNIMPLEMENTED' });
    throws(() => read([long.subarray(0, 15)]), { code: 'INVALID_ARGUMENT' });
    throws(() => read([long.subarray(0, 3)]), { code: 'INVALID_ARGUMENT' });
  });

  it('are written a chunk at a time, whose parts may be shared', () => {
    const part = Buffer.alloc(1_000, 'x');
    const sizes = [...framed(Array.from({ length: 200 }, () => part))].map(({ length }) => length);
    deepStrictEqual(sizes, [65_536, 65_536, 65_536, 200_005 - 3 * 65_536]);
  });
});
