import { StatusError } from './status.ts';

/** gRPC's prefix of a message: one byte of flags, four of its length. */
const headBytes = 5;
/** Of a message that is longer, memory for so much is taken at first. */
const firstBytes = 16 * 1024;

/**
 * Puts the messages of a call together from the pieces they come in. Every byte is copied at most twice, however small the
 * pieces are, and what is held is at most 16 KiB or three times what has come, whatever length is announced.
 */
export class MessageReader {
  readonly #maxBytes: number;
  readonly #head = Buffer.alloc(headBytes);
  #headFilled = 0;
  #length = 0;
  #body = Buffer.alloc(0);
  #bodyFilled = 0;

  /** @param maxBytes of a message: a longer one is refused by the length it announces */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Gives `take` the messages that end in this piece, and keeps nothing of them.
   * @throws StatusError RESOURCE_EXHAUSTED for one that is too long, UNIMPLEMENTED for one that is compressed
   */
  feed(piece: Uint8Array, take: (message: Uint8Array) => void): void {
    let rest = piece;
    while (rest.length > 0) {
      rest = this.#headFilled < headBytes ? this.#takeHead(rest) : this.#takeBody(rest);
      if (this.#headFilled < headBytes || this.#bodyFilled < this.#length) continue;
      const message = this.#body.subarray(0, this.#length);
      this.#headFilled = 0;
      this.#bodyFilled = 0;
      this.#body = Buffer.alloc(0);
      take(message);
    }
  }

  /** Nothing more comes. @throws StatusError INVALID_ARGUMENT within a message */
  end(): void {
    if (this.#headFilled > 0) throw new StatusError('INVALID_ARGUMENT', 'the call ended within a message');
  }

  #takeHead(bytes: Uint8Array): Uint8Array {
    const part = bytes.subarray(0, headBytes - this.#headFilled);
    this.#head.set(part, this.#headFilled);
    this.#headFilled += part.length;
    if (this.#headFilled === headBytes) {
      if (this.#head.readUInt8(0) !== 0) throw new StatusError('UNIMPLEMENTED', 'compressed messages are not taken');
      this.#length = this.#head.readUInt32BE(1);
      if (this.#length > this.#maxBytes) {
        const why = `a message of ${this.#length} bytes is longer than the ${this.#maxBytes} that are taken`;
        throw new StatusError('RESOURCE_EXHAUSTED', why);
      }
    }
    return bytes.subarray(part.length);
  }

  #takeBody(bytes: Uint8Array): Uint8Array {
    const part = bytes.subarray(0, this.#length - this.#bodyFilled);
    const needed = this.#bodyFilled + part.length;
    if (needed > this.#body.length) {
      const capacity = Math.min(this.#length, Math.max(needed, firstBytes, 2 * this.#body.length));
      const larger = Buffer.alloc(capacity);
      larger.set(this.#body.subarray(0, this.#bodyFilled));
      this.#body = larger;
    }
    this.#body.set(part, this.#bodyFilled);
    this.#bodyFilled = needed;
    return bytes.subarray(part.length);
  }
}
