import { canonicalIp, type IpText, ipBytes } from './ip.ts';

/** A range of addresses. */
export interface Cidr {
  readonly ip: IpText;
  /** Bits: 0–32 or 0–128. */
  readonly prefixLength: number;
}

/** Undefined when `text` is not `<address>/<bits>`. */
export function parseCidr(text: string): Cidr | undefined {
  const [address = '', bits = '', ...rest] = text.split('/');
  const ip = canonicalIp(address);
  if (ip === undefined || rest.length > 0 || !/^[0-9]{1,3}$/.test(bits)) return undefined;
  const prefixLength = Number(bits);
  return prefixLength <= ipBytes(ip).length * 8 ? { ip, prefixLength } : undefined;
}

/** An IPv4 address is in no IPv6 range, nor the other way round. */
export function contains(cidr: Cidr, ip: IpText): boolean {
  const network = ipBytes(cidr.ip);
  const address = ipBytes(ip);
  if (network.length !== address.length) return false;
  return network.every((byte, index) => {
    const bits = Math.min(Math.max(cidr.prefixLength - index * 8, 0), 8);
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((address[index] ?? 0) & mask);
  });
}
