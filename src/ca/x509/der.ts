import type { ErrorCode } from '../../errors/codes.ts';
import { TulleError } from '../../errors/tulle-error.ts';

/** Tags of the DER elements we read (X.690, section 8). */
export const derTag = {
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  sequence: 0x30,
} as const;

/** One DER element inside a larger buffer; nothing is copied. */
export interface DerElement {
  readonly tag: number;
  /** The element whole, tag and length included. */
  readonly raw: Buffer;
  readonly content: Buffer;
}

/**
 * Reads elements one after another, for input from strangers: it never recurses, never reads past its end, and refuses whatever
 * DER does not allow of tags and lengths (long tags, indefinite and non-minimal lengths).
 *
 * node-forge's reader is not used for this: it decodes everything it meets, recursively, and gives no element's own bytes, which
 * is what a signature is over.
 */
export class DerReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  readonly #code: ErrorCode;
  #offset = 0;

  /**
   * @param what names the input in errors
   * @param code of the errors thrown
   */
  constructor(bytes: Buffer, what: string, code: ErrorCode) {
    this.#bytes = bytes;
    this.#what = what;
    this.#code = code;
  }

  get atEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  /** The next element's tag, undefined at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#offset];
  }

  /**
   * The next element, which must have this tag.
   * @throws TulleError when it has not, or is not DER
   */
  read(tag: number): DerElement {
    const element = this.next();
    if (element.tag !== tag) throw this.#fault(`tag ${tag} expected, found ${element.tag}`);
    return element;
  }

  /** @throws TulleError when the next element is not DER */
  next(): DerElement {
    const start = this.#offset;
    const tag = this.#byte();
    if ((tag & 0x1f) === 0x1f) throw this.#fault('a tag number over 30');
    const length = this.#length();
    const contentStart = this.#offset;
    const end = contentStart + length;
    if (end > this.#bytes.length) throw this.#fault('an element longer than what holds it');
    this.#offset = end;
    return { tag, raw: this.#bytes.subarray(start, end), content: this.#bytes.subarray(contentStart, end) };
  }

  /** @throws TulleError when something follows */
  end(): void {
    if (!this.atEnd) throw this.#fault('bytes after its end');
  }

  /** X.690, section 8.1.3, with the restrictions of 10.1; four bytes of length are more than any input here. */
  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0 || count > 4) throw this.#fault('an indefinite or oversized length');
    let length = 0;
    for (let index = 0; index < count; index++) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 256 ** (count - 1)) throw this.#fault('a length in more bytes than it needs');
    return length;
  }

  #byte(): number {
    const byte = this.#bytes[this.#offset];
    if (byte === undefined) throw this.#fault('its end too early');
    this.#offset += 1;
    return byte;
  }

  #fault(found: string): TulleError {
    return new TulleError(this.#code, `${this.#what} is not DER: ${found} at byte ${this.#offset}.`);
  }
}
