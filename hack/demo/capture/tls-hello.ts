/** ClientHello and ServerHello, RFC 8446 sections 4.1.2 and 4.1.3. */

export interface Hello {
  /** Client: the highest version offered. Server: the version chosen. 0x0304 is TLS 1.3. */
  readonly version: number;
  /** The cipher suite chosen; undefined for a client. */
  readonly cipherSuite: number | undefined;
  /** Protocols offered (client). Empty for a TLS 1.3 server: its choice is encrypted. */
  readonly alpn: readonly string[];
  readonly hasServerName: boolean;
  /** The hello names an earlier session (pre_shared_key). */
  readonly resumes: boolean;
  /** A ServerHello that only asks the client to say hello again. */
  readonly retryRequest: boolean;
}

export const TLS_1_3 = 0x0304;

/** Suites of TLS 1.3 that encrypt; those of RFC 9150 only sign, and leave the text readable. */
export const ENCRYPTING_SUITES: ReadonlySet<number> = new Set([0x1301, 0x1302, 0x1303, 0x1304, 0x1305]);

const EXTENSION = { serverName: 0, alpn: 16, preSharedKey: 41, supportedVersions: 43 } as const;

/** The random value that marks a HelloRetryRequest: SHA-256 of that name, RFC 8446 section 4.1.3. */
const RETRY_RANDOM = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex');

/** Reads a hello's body (without the handshake header); throws RangeError when it is malformed. */
export function parseHello(side: 'client' | 'server', body: Buffer): Hello {
  const reader = new Reader(body);
  const legacyVersion = reader.number(2);
  const random = reader.bytes(32);
  reader.vector(1); // session id
  let cipherSuite: number | undefined;
  if (side === 'client') {
    reader.vector(2); // cipher suites
    reader.vector(1); // compression methods
  } else {
    cipherSuite = reader.number(2);
    reader.number(1); // compression method
  }
  const extensions = reader.atEnd ? new Map<number, Buffer>() : parseExtensions(reader.vector(2));
  const versions = extensions.get(EXTENSION.supportedVersions);
  return {
    version: versions === undefined ? legacyVersion : chosenVersion(side, versions),
    cipherSuite,
    alpn: side === 'client' ? parseAlpn(extensions.get(EXTENSION.alpn)) : [],
    hasServerName: extensions.has(EXTENSION.serverName),
    resumes: extensions.has(EXTENSION.preSharedKey),
    retryRequest: side === 'server' && random.equals(RETRY_RANDOM),
  };
}

function parseExtensions(bytes: Buffer): Map<number, Buffer> {
  const reader = new Reader(bytes);
  const extensions = new Map<number, Buffer>();
  while (!reader.atEnd) extensions.set(reader.number(2), reader.vector(2));
  return extensions;
}

function chosenVersion(side: 'client' | 'server', extension: Buffer): number {
  const reader = new Reader(extension);
  if (side === 'server') return reader.number(2);
  const offered = new Reader(reader.vector(1));
  let highest = 0;
  while (!offered.atEnd) {
    const version = offered.number(2);
    const grease = (version & 0x0f0f) === 0x0a0a; // RFC 8701
    if (!grease) highest = Math.max(highest, version);
  }
  return highest;
}

function parseAlpn(extension: Buffer | undefined): string[] {
  if (extension === undefined) return [];
  const names = new Reader(new Reader(extension).vector(2));
  const found: string[] = [];
  while (!names.atEnd) found.push(names.vector(1).toString('latin1'));
  return found;
}

/** Takes values off the front of a buffer; throws RangeError when it holds too little. */
class Reader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  number(length: 1 | 2): number {
    const value = this.#bytes.readUIntBE(this.#offset, length);
    this.#offset += length;
    return value;
  }

  bytes(length: number): Buffer {
    const end = this.#offset + length;
    if (end > this.#bytes.length)
      throw new RangeError(`${length} bytes wanted, ${this.#bytes.length - this.#offset} left`);
    const value = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return value;
  }

  /** A value with its length before it, in 1 or 2 bytes. */
  vector(lengthBytes: 1 | 2): Buffer {
    return this.bytes(this.number(lengthBytes));
  }
}
