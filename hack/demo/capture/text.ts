/** What a reader of the wire could make out. */

/** Beginnings of HTTP/1 requests and replies, the HTTP/2 preface, and Redis commands and replies (RESP). */
const PROTOCOL_TEXT =
  /(?:GET|PUT|POST|HEAD|DELETE|PATCH|OPTIONS|CONNECT) [^\s]{1,2000} HTTP\/1\.[01]\r\n|HTTP\/1\.[01] \d{3}|PRI \* HTTP\/2\.0\r\n|\*\d{1,6}\r\n\$\d{1,9}\r\n|\$\d{1,9}\r\n[ -~]{8,}/;

/**
 * Longer runs of printable characters do not happen in ciphertext: 32 in a row have a chance of (95/256)^32, about
 * 2 in 10^14, at each byte.
 */
const PRINTABLE_RUN = /[\t\r\n -~]{32,}/;

/** The first stretch of readable text in the bytes, cut to 200 characters; undefined when there is none. */
export function readableText(bytes: Buffer): string | undefined {
  const text = bytes.toString('latin1');
  const found = PROTOCOL_TEXT.exec(text) ?? PRINTABLE_RUN.exec(text);
  return found === null ? undefined : excerpt(bytes.subarray(found.index));
}

/** The bytes as text on one line, cut to 200 characters; what cannot be printed is a dot. */
export function excerpt(bytes: Buffer): string {
  return bytes
    .toString('latin1', 0, 200)
    .replaceAll(/\r?\n/g, '⏎')
    .replaceAll(/[^ -~⏎]/g, '.');
}
