import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { ApiError, isExpired } from '../../../src/kube/client/api-error.ts';
import { lines, watchEvents } from '../../../src/kube/client/watch-stream.ts';

async function all<T>(generator: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of generator) items.push(item);
  return items;
}

describe('the stream of a watch', () => {
  const text =
    '{"type":"ADDED","object":{"metadata":{"name":"ä"}}}\n\n{"type":"DELETED","object":{"metadata":{"name":"b"}}}\n';

  it('is the same whatever chunks it comes in, also cut within a character', async () => {
    const bytes = Buffer.from(text);
    for (let size = 1; size <= bytes.length; size += 1) {
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
        bytes.subarray(i * size, (i + 1) * size),
      );
      const events = await all(watchEvents(Readable.from(chunks), 'WATCH /x'));
      assert.deepEqual(
        events.map(({ type, object }) => `${type} ${object.metadata.name}`),
        ['ADDED ä', 'DELETED b'],
      );
    }
  });

  it('drops a last line without an end: the connection broke in it', async () => {
    assert.deepEqual(await all(lines(Readable.from([Buffer.from('one\ntw')]))), ['one']);
  });

  it('throws what the server sends as an error', async () => {
    const expired = '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n';
    await assert.rejects(all(watchEvents(Readable.from([Buffer.from(expired)]), 'WATCH /x')), (error) => {
      assert.ok(error instanceof ApiError);
      return isExpired(error) && error.message.includes('WATCH /x');
    });
  });

  it('refuses a line that never ends', async () => {
    const endless = Readable.from(Array.from({ length: 20 }, () => Buffer.alloc(10)));
    await assert.rejects(all(lines(endless, 100)), /more than 100 bytes/);
  });
});
