import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Connection } from './connection.ts';
import { MessageReader } from './message-reader.ts';
import { framed } from './message-writer.ts';
import { StatusError, statusCodes } from './status.ts';
import { timeoutMs } from './timeout.ts';

/** What is known of a call before any of its messages. */
export interface IncomingCall {
  /** Of the header; undefined where there is none. Several are one text with commas, which is no token. */
  readonly authorization: string | undefined;
  /** Where it came from; `peer` is with the port, for logs. */
  readonly address: string;
  readonly peer: string;
}

/** For what a call that is answered has still to write, ms: its client may not read. */
const lastWordMs = 5_000;

/**
 * One gRPC call on an HTTP/2 stream, on this side:
 *
 *   OPEN ── finish ──► nothing is being written ──► STATUS SENT ── the stream is closed, read or not ──► OVER
 *     │                  └── else after that message; an error cuts it short ──────────────────────────► OVER
 *     └── the caller resets it, its connection ends, cancel ────────────────────────────────────────────► OVER
 *
 * A call that is answered is closed even if its caller would send more: what is refused holds nothing.
 */
export class Call implements IncomingCall {
  readonly authorization: string | undefined;
  readonly connection: Connection;
  readonly #stream: ServerHttp2Stream;
  readonly #over = new AbortController();
  #timers: NodeJS.Timeout[] = [];
  #status: StatusError | 'OK' | undefined;
  #isWriting = false;

  constructor(
    stream: ServerHttp2Stream,
    connection: Connection,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
  ) {
    this.#stream = stream;
    this.connection = connection;
    this.authorization = valuesOf(rawHeaders, 'authorization');
    // It is followed by 'close'.
    stream.on('error', () => {});
    stream.once('close', () => {
      for (const timer of this.#timers) clearTimeout(timer);
      this.#timers = [];
      this.#over.abort(callIsOver);
    });
    this.#takeTimeout(headers['grpc-timeout']);
  }

  get address(): string {
    return this.connection.address;
  }

  get peer(): string {
    return this.connection.peer;
  }

  /** Aborts when the call is over, whoever ended it. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Whether a status is given, or the call over. */
  get isFinished(): boolean {
    return this.#status !== undefined || this.signal.aborted;
  }

  /**
   * Gives `take` one message after another until the caller has said its last. An iterator would do the same and hold what came
   * last while it waits for more: a message that may be large, or a piece that is a view of a larger buffer.
   * @throws StatusError for what is not gRPC's; another error when the call is over; what `take` throws
   */
  receive(maxBytes: number, take: (message: Uint8Array) => void): Promise<void> {
    const stream = this.#stream;
    const reader = new MessageReader(maxBytes);
    return new Promise((resolve, reject) => {
      const attempt = (step: () => void) => {
        try {
          step();
        } catch (error) {
          stream.pause();
          reject(error);
        }
      };
      this.signal.addEventListener('abort', () => reject(callIsOver), { once: true });
      stream.on('data', (piece: Buffer) => attempt(() => reader.feed(piece, take)));
      stream.once('end', () => {
        // One that is reset ends too, and closes after that.
        if (stream.aborted) return;
        attempt(() => {
          reader.end();
          resolve();
        });
      });
    });
  }

  /** Fails the call unless it is over, or this is called off, within so long. Returns how to call it off. */
  failAfter(ms: number, error: () => StatusError): () => void {
    const timer = setTimeout(() => this.finish(error()), ms).unref();
    this.#timers.push(timer);
    return () => clearTimeout(timer);
  }

  /**
   * Writes one message, whose parts may be shared, a chunk at a time. Resolves when it has left this process.
   * @param onProgress called with how many bytes more have left
   * @throws when the call is over before
   */
  async write(parts: readonly Uint8Array[], onProgress: (bytes: number) => void = () => {}): Promise<void> {
    this.#isWriting = true;
    try {
      if (!this.#stream.headersSent) this.#stream.respond(responseHeaders, { waitForTrailers: true });
      for (const chunk of framed(parts)) {
        await this.#send(chunk);
        onProgress(chunk.length);
      }
    } finally {
      this.#isWriting = false;
      if (this.#status !== undefined) this.#sendStatus(this.#status);
    }
  }

  /** Ends the call with OK, or with why it fails; again does nothing. */
  finish(error?: StatusError): void {
    if (this.isFinished) return;
    this.#status = error ?? 'OK';
    if (!this.#isWriting) this.#sendStatus(this.#status);
    // A caller that does not read what there is would not read the reason either.
    else if (error !== undefined) this.cancel();
    this.#timers.push(setTimeout(() => this.cancel(), lastWordMs).unref());
  }

  /** Ends the call at once, whether or not its caller reads. */
  cancel(): void {
    if (this.#stream.destroyed) return;
    this.#stream.close(constants.NGHTTP2_CANCEL);
    this.#stream.destroy();
  }

  #takeTimeout(header: string | string[] | undefined): void {
    try {
      const ms = timeoutMs(header?.toString());
      if (ms !== undefined)
        this.failAfter(ms, () => new StatusError('DEADLINE_EXCEEDED', 'the time of the call is over'));
    } catch (error) {
      if (error instanceof StatusError) this.finish(error);
    }
  }

  /** Node.js says of every write that it is done, also when the stream is destroyed meanwhile. */
  #send(chunk: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.signal.aborted) reject(callIsOver);
      else this.#stream.write(chunk, (error) => (error ? reject(error) : resolve()));
    });
  }

  #sendStatus(status: StatusError | 'OK'): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    const close = () => {
      if (!stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR);
    };
    if (!stream.headersSent) {
      stream.respond({ ...responseHeaders, ...trailers(status) }, { endStream: true });
      close();
      return;
    }
    stream.once('wantTrailers', () => {
      stream.sendTrailers(trailers(status));
      // Closed in the same turn, the stream would end without them.
      setImmediate(close);
    });
    stream.end();
  }
}

/** One for all: most calls end without anybody who reads it. */
const callIsOver = new Error('the call is over');

const responseHeaders: OutgoingHttpHeaders = {
  ':status': constants.HTTP_STATUS_OK,
  'content-type': 'application/grpc+proto',
  'grpc-accept-encoding': 'identity',
};

function trailers(status: StatusError | 'OK'): OutgoingHttpHeaders {
  if (status === 'OK') return { 'grpc-status': statusCodes.OK };
  const { code, message, retryPushbackMs } = status;
  return {
    'grpc-status': statusCodes[code],
    'grpc-message': percentEncoded(message),
    ...(retryPushbackMs === undefined ? {} : { 'grpc-retry-pushback-ms': retryPushbackMs }),
  };
}

/** As gRPC writes a message in a header. */
function percentEncoded(text: string): string {
  return text.replaceAll(/[^ -$&-~]+/gu, (part) =>
    [...Buffer.from(part)].map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`).join(''),
  );
}

/** Of a header, all of them: Node.js itself keeps the first of those that may be there once. */
function valuesOf(rawHeaders: readonly string[], name: string): string | undefined {
  const values = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1] === name);
  return values.length === 0 ? undefined : values.join(', ');
}
