import type { Readable } from 'node:stream';
import type { KubeObject, Status } from '../objects.ts';
import { ApiError } from './api-error.ts';

/** No line of a watch may be longer, bytes: an object is at most some 3 MiB, the rest is not an API server speaking. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;

/** One line of a watch. A BOOKMARK's object carries only its kind and `metadata.resourceVersion`. */
export interface WatchEvent<T extends KubeObject = KubeObject> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  object: T;
}

type WireEvent<T extends KubeObject> = WatchEvent<T> | { type: 'ERROR'; object: Status };

/** Events of a watch's body. An ERROR event is thrown as the ApiError it carries (a 410 for an expired watch). */
export async function* watchEvents<T extends KubeObject>(
  body: Readable,
  path: string,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  for await (const line of lines(body)) {
    const event: WireEvent<T> = JSON.parse(line);
    if (event.type === 'ERROR') throw ApiError.fromStatus(path, 500, event.object);
    yield event;
  }
}

/** Complete lines of a byte stream; a last line without its end is a broken connection's and dropped. */
export async function* lines(
  body: AsyncIterable<Uint8Array>,
  limit = MAX_LINE_BYTES,
): AsyncGenerator<string, void, undefined> {
  let rest: Uint8Array[] = [];
  let restBytes = 0;
  for await (const chunk of body) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      const line = Buffer.concat([...rest, chunk.subarray(start, end)]).toString('utf8');
      rest = [];
      restBytes = 0;
      start = end + 1;
      if (line !== '') yield line;
    }
    if (start < chunk.length) {
      rest.push(chunk.subarray(start));
      restBytes += chunk.length - start;
      if (restBytes > limit) throw new Error(`a line of more than ${limit} bytes in a watch`);
    }
  }
}
