import type { DeltaDiscoveryResponse } from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import type { TulleError } from '../../../src/errors/tulle-error.ts';
import type { Wire } from '../../../src/xds/stream.ts';
import { type Answer, answerOf } from './proxy.ts';

/** A transport in memory whose messages leave when the test says so. */
export class MemoryWire implements Wire {
  readonly answers: Answer[] = [];
  readonly #unflushed: (() => void)[] = [];
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

  write(response: DeltaDiscoveryResponse, flushed: () => void): void {
    this.answers.push(answerOf(response));
    this.#unflushed.push(flushed);
    this.#written.resolve();
  }

  end(error?: TulleError): void {
    this.over = true;
    this.#ended.resolve(error);
  }

  /** Lets everything leave, also what is written meanwhile. */
  flush(): void {
    for (let flushed = this.#unflushed.shift(); flushed !== undefined; flushed = this.#unflushed.shift()) flushed();
  }
}
