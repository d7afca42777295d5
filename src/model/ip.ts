import { isIPv4, isIPv6 } from 'node:net';

/**
 * An IP address as canonical text: IPv4 dotted, IPv6 in full lower-case groups without compression, and an IPv4-mapped
 * IPv6 address as the IPv4 address it is, so that one address has one text.
 */
export type IpText = string & { readonly __brand: 'IpText' };

/** The canonical text of `text`; undefined when it is no address (scoped addresses, `fe80::1%eth0`, are none here). */
export function canonicalIp(text: string): IpText | undefined {
  const bytes = parse(text);
  return bytes === undefined ? undefined : format(unmapped(bytes));
}

/** 4 or 16 bytes in network order. */
export function ipBytes(ip: IpText): Uint8Array {
  const bytes = parse(ip);
  if (bytes === undefined) throw new TypeError(`not a canonical IP address: ${ip}`);
  return bytes;
}

function parse(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number);
  if (text.includes('%') || !isIPv6(text)) return undefined;
  const [head = '', tail] = text.split('::');
  const front = words(head);
  const back = tail === undefined ? [] : words(tail);
  const zeros = Array<number>(8 - front.length - back.length).fill(0);
  return Uint8Array.from([...front, ...zeros, ...back].flatMap((word) => [word >> 8, word & 0xff]));
}

/** The 16-bit words of one side of `::`; a dotted IPv4 tail counts as two. */
function words(side: string): number[] {
  if (side === '') return [];
  return side.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}

function unmapped(bytes: Uint8Array): Uint8Array {
  const mapped = bytes.length === 16 && bytes.subarray(0, 10).every((byte) => byte === 0);
  return mapped && bytes[10] === 0xff && bytes[11] === 0xff ? bytes.subarray(12) : bytes;
}

function format(bytes: Uint8Array): IpText {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text =
    bytes.length === 4
      ? bytes.join('.')
      : Array.from({ length: 8 }, (_, index) => view.getUint16(index * 2).toString(16)).join(':');
  return brand(text);
}

function brand(text: string): IpText {
  return text as IpText; // the one place an IpText is made
}
