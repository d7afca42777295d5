import type { TulleError } from '../../../src/errors/tulle-error.ts';
import { encodeResponse, type Response } from '../../../src/xds/response.ts';
import type { Sending, Transport } from '../../../src/xds/stream.ts';
import { type Answer, readAnswer } from './proxy.ts';

/** A transport in memory whose messages leave when the test says so. */
export class MemoryTransport implements Transport {
  readonly answers: Answer[] = [];
  readonly #unflushed: Sending[] = [];
  readonly #ended = Promise.withResolvers<TulleError | undefined>();
  readonly #written = Promise.withResolvers<void>();
  over = false;

  /** Resolves with the first message. */
  get written(): Promise<void> {
    return this.#written.promise;
  }

  get ended(): Promise<TulleError | undefined> {
    return this.#ended.promise;
  }

  write(response: Response, sending: Sending): void {
    this.answers.push(readAnswer(Buffer.concat(encodeResponse(response))));
    this.#unflushed.push(sending);
    this.#written.resolve();
  }

  end(error?: TulleError): void {
    this.over = true;
    this.#ended.resolve(error);
  }

  /** Lets so many bytes more of the oldest message leave. */
  progress(bytes: number): void {
    this.#unflushed[0]?.progressed(bytes);
  }

  /** Lets everything leave, also what is written meanwhile. */
  flush(): void {
    for (let next = this.#unflushed.shift(); next !== undefined; next = this.#unflushed.shift()) next.flushed();
  }
}
