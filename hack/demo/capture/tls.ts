/** TLS records in one direction of a connection, RFC 8446 section 5. */

import { excerpt, readableText } from './text.ts';
import { ENCRYPTING_SUITES, type Hello, parseHello, TLS_1_3 } from './tls-hello.ts';

/** Bytes that somebody on the wire could make something of, or that are not what they should be. */
export interface Problem {
  /** Offset in the run. */
  readonly offset: number;
  readonly bytes: number;
  readonly what: string;
  readonly sample: string;
}

export interface TlsReading {
  readonly hello: Hello | undefined;
  readonly records: number;
  /** Bytes of encrypted records, those of a last record that is not complete included. */
  readonly encryptedBytes: number;
  /** Offset of the first encrypted record; undefined when there is none. */
  readonly firstEncrypted: number | undefined;
  readonly problems: readonly Problem[];
}

const HEADER_BYTES = 5;
const MAX_BODY_BYTES = 16384 + 256;
/** One byte of content type and 16 of authentication tag: no TLS 1.3 record is shorter. */
const MIN_ENCRYPTED_BYTES = 17;

const RECORD = { changeCipherSpec: 20, alert: 21, handshake: 22, applicationData: 23 } as const;
const HELLO_TYPE = { client: 1, server: 2 } as const;

/**
 * Reads the records of a run. Nothing but TLS 1.3 passes: one hello in the clear (two after a retry request), then
 * encrypted records only. A run from the middle of a connection must fall into step with encrypted records within the
 * length of one record, and may hold nothing else.
 */
export function readTls(bytes: Buffer, side: 'client' | 'server', fromStart: boolean): TlsReading {
  return new TlsReader(bytes, side, fromStart).read();
}

class TlsReader {
  readonly #bytes: Buffer;
  readonly #side: 'client' | 'server';
  readonly #fromStart: boolean;
  readonly #problems: Problem[] = [];
  #handshake = Buffer.alloc(0);
  #hello: Hello | undefined;
  #hellos = 0;
  #records = 0;
  #encryptedBytes = 0;
  #firstEncrypted: number | undefined;

  constructor(bytes: Buffer, side: 'client' | 'server', fromStart: boolean) {
    this.#bytes = bytes;
    this.#side = side;
    this.#fromStart = fromStart;
  }

  read(): TlsReading {
    const start = this.#fromStart ? 0 : findRecordBoundary(this.#bytes);
    if (start === undefined) this.#problem(0, this.#bytes, 'no TLS record');
    else this.#readFrom(start);
    return {
      hello: this.#hello,
      records: this.#records,
      encryptedBytes: this.#encryptedBytes,
      firstEncrypted: this.#firstEncrypted,
      problems: this.#problems,
    };
  }

  #readFrom(start: number): void {
    this.#refuseText(0, this.#bytes.subarray(0, start));
    let offset = start;
    while (offset < this.#bytes.length) {
      const header = readHeader(this.#bytes, offset);
      if (header === 'cut off') return;
      if (header === 'invalid') {
        this.#problem(offset, this.#bytes.subarray(offset), 'no TLS record');
        return;
      }
      const body = this.#bytes.subarray(offset + HEADER_BYTES, offset + HEADER_BYTES + header.length);
      this.#records += 1;
      this.#readRecord(offset, header, body);
      offset += HEADER_BYTES + header.length;
    }
  }

  #readRecord(offset: number, header: RecordHeader, body: Buffer): void {
    const complete = body.length === header.length;
    switch (header.type) {
      case RECORD.applicationData:
        this.#readEncrypted(offset, body);
        return;
      case RECORD.changeCipherSpec: // sent once for the sake of old middleboxes, RFC 8446 appendix D.4
        if (!this.#fromStart || header.length !== 1 || (complete && body[0] !== 1)) {
          this.#problem(offset, body, 'a change_cipher_spec record that TLS 1.3 does not have');
        }
        return;
      case RECORD.alert: // before there are keys, an alert is two bytes in the clear: level and description
        if (header.length !== 2 || this.#firstEncrypted !== undefined || !this.#fromStart) {
          this.#problem(offset, body, 'an alert that is not encrypted');
        }
        return;
      case RECORD.handshake:
        this.#readHandshake(offset, body, complete);
        return;
    }
  }

  #readEncrypted(offset: number, body: Buffer): void {
    const before = this.#fromStart && (this.#hello === undefined || this.#handshake.length > 0);
    if (before) this.#problem(offset, body, 'application data before the hello');
    this.#firstEncrypted ??= offset;
    this.#encryptedBytes += body.length;
    this.#refuseText(offset + HEADER_BYTES, body);
  }

  #readHandshake(offset: number, body: Buffer, complete: boolean): void {
    if (!this.#fromStart || this.#firstEncrypted !== undefined) {
      this.#problem(offset, body, 'a handshake message that is not encrypted');
      return;
    }
    this.#handshake = Buffer.concat([this.#handshake, body]);
    while (complete && this.#handshake.length >= 4) {
      const type = this.#handshake.readUInt8(0);
      const length = this.#handshake.readUIntBE(1, 3);
      if (type !== HELLO_TYPE[this.#side]) {
        this.#problem(offset, body, `a handshake message of type ${type} that is not encrypted`);
        this.#handshake = Buffer.alloc(0);
        return;
      }
      if (this.#handshake.length < 4 + length) return;
      this.#readHello(offset, this.#handshake.subarray(4, 4 + length));
      this.#handshake = this.#handshake.subarray(4 + length);
    }
  }

  #readHello(offset: number, body: Buffer): void {
    this.#hellos += 1;
    const again = this.#side === 'client' || this.#hello?.retryRequest === true;
    if (this.#hellos > 2 || (this.#hellos === 2 && !again)) this.#problem(offset, body, 'one hello too many');
    try {
      this.#hello = parseHello(this.#side, body);
    } catch {
      this.#problem(offset, body, 'a hello that cannot be read');
      return;
    }
    if (this.#hello.version !== TLS_1_3) {
      const version = this.#hello.version.toString(16).padStart(4, '0');
      this.#problem(offset, body, `a hello of version 0x${version}, not TLS 1.3`);
    }
    const { cipherSuite } = this.#hello;
    if (cipherSuite !== undefined && !ENCRYPTING_SUITES.has(cipherSuite)) {
      this.#problem(offset, body, `cipher suite 0x${cipherSuite.toString(16)}, which is none that encrypts in TLS 1.3`);
    }
  }

  #refuseText(offset: number, bytes: Buffer): void {
    const text = readableText(bytes);
    if (text !== undefined) {
      this.#problems.push({ offset, bytes: bytes.length, what: 'readable text in place of ciphertext', sample: text });
    }
  }

  #problem(offset: number, bytes: Buffer, what: string): void {
    this.#problems.push({ offset, bytes: bytes.length, what, sample: readableText(bytes) ?? excerpt(bytes) });
  }
}

interface RecordHeader {
  readonly type: number;
  readonly length: number;
}

function readHeader(bytes: Buffer, offset: number): RecordHeader | 'cut off' | 'invalid' {
  // A header of which the first bytes are seen must be right as far as it goes.
  const [type, major, minor] = bytes.subarray(offset, offset + 3);
  if (type === undefined || type < RECORD.changeCipherSpec || type > RECORD.applicationData) return 'invalid';
  if (major !== undefined && major !== 3) return 'invalid';
  // 0x0301 is for a first ClientHello only; everything later says 0x0303 (RFC 8446 section 5.1).
  if (minor !== undefined && minor !== 3 && !(minor === 1 && type === RECORD.handshake)) return 'invalid';
  if (bytes.length - offset < HEADER_BYTES) return 'cut off';
  const length = bytes.readUInt16BE(offset + 3);
  const least = type === RECORD.applicationData ? MIN_ENCRYPTED_BYTES : 1;
  return length < least || length > MAX_BODY_BYTES ? 'invalid' : { type, length };
}

/**
 * The first offset from which encrypted records follow each other to the end of the bytes. It lies within one record's
 * length, and at least one whole header must be there.
 */
function findRecordBoundary(bytes: Buffer): number | undefined {
  for (let start = 0; start <= MAX_BODY_BYTES + HEADER_BYTES && start + HEADER_BYTES <= bytes.length; start += 1) {
    if (bytes[start] === RECORD.applicationData && chainReachesEnd(bytes, start)) return start;
  }
  return undefined;
}

function chainReachesEnd(bytes: Buffer, start: number): boolean {
  let offset = start;
  while (offset < bytes.length) {
    const header = readHeader(bytes, offset);
    if (header === 'cut off') return true;
    if (header === 'invalid' || header.type !== RECORD.applicationData) return false;
    offset += HEADER_BYTES + header.length;
  }
  return true;
}
