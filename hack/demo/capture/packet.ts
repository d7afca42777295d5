import type { LinkType } from './pcap.ts';

/** An IP packet's ends and what it carries. */
export type IpPacket = TcpPacket | OtherPacket;

export interface TcpPacket {
  readonly kind: 'tcp';
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly syn: boolean;
  readonly ack: boolean;
  readonly payload: Buffer;
}

/** What is not whole TCP: another protocol, a fragment, or a TCP header that cannot be read. */
export interface OtherPacket {
  readonly kind: 'other';
  readonly source: string;
  readonly destination: string;
  /** IP protocol number. */
  readonly protocol: number;
  readonly payload: Buffer;
}

const TCP = 6;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const VLAN_TAGS = new Set([0x8100, 0x88a8]);

/** The IP packet in a captured frame; undefined when there is none (ARP and the like) or its header is cut off. */
export function parseFrame(linkType: LinkType, frame: Buffer): IpPacket | undefined {
  const network = linkType === 'ethernet' ? ethernetPayload(frame) : sll2Payload(frame);
  if (network === undefined) return undefined;
  if (network.type === ETHERTYPE_IPV4) return parseIpv4(network.packet);
  if (network.type === ETHERTYPE_IPV6) return parseIpv6(network.packet);
  return undefined;
}

interface NetworkPacket {
  readonly type: number;
  readonly packet: Buffer;
}

function ethernetPayload(frame: Buffer): NetworkPacket | undefined {
  let offset = 12;
  while (frame.length >= offset + 2) {
    const type = frame.readUInt16BE(offset);
    if (!VLAN_TAGS.has(type)) return { type, packet: frame.subarray(offset + 2) };
    offset += 4;
  }
  return undefined;
}

/** LINKTYPE_LINUX_SLL2: the protocol comes first in a header of 20 bytes. */
function sll2Payload(frame: Buffer): NetworkPacket | undefined {
  return frame.length < 20 ? undefined : { type: frame.readUInt16BE(0), packet: frame.subarray(20) };
}

/** RFC 791 section 3.1. */
function parseIpv4(packet: Buffer): IpPacket | undefined {
  if (packet.length < 20) return undefined;
  const headerBytes = (packet.readUInt8(0) & 0x0f) * 4;
  if (headerBytes < 20) return undefined;
  // Zero: longer than the field can say, as segmentation offload leaves it. Less than captured: padding follows.
  const totalBytes = packet.readUInt16BE(2) || packet.length;
  const fragment = (packet.readUInt16BE(6) & 0x3fff) !== 0;
  const ends = { source: ipv4Text(packet, 12), destination: ipv4Text(packet, 16) };
  return parseTransport(ends, packet.readUInt8(9), fragment, packet.subarray(headerBytes, totalBytes));
}

/** RFC 8200 section 3. Extension headers are not walked: such a packet is `other`. */
function parseIpv6(packet: Buffer): IpPacket | undefined {
  if (packet.length < 40) return undefined;
  const payloadBytes = packet.readUInt16BE(4) || packet.length - 40;
  const ends = { source: ipv6Text(packet, 8), destination: ipv6Text(packet, 24) };
  return parseTransport(ends, packet.readUInt8(6), false, packet.subarray(40, 40 + payloadBytes));
}

/** RFC 9293 section 3.1. */
function parseTransport(
  ends: { source: string; destination: string },
  protocol: number,
  fragment: boolean,
  segment: Buffer,
): IpPacket {
  const headerBytes = segment.length < 20 ? 0 : (segment.readUInt8(12) >> 4) * 4;
  if (protocol !== TCP || fragment || headerBytes < 20 || headerBytes > segment.length) {
    return { kind: 'other', ...ends, protocol, payload: segment };
  }
  const flags = segment.readUInt8(13);
  return {
    kind: 'tcp',
    ...ends,
    sourcePort: segment.readUInt16BE(0),
    destinationPort: segment.readUInt16BE(2),
    sequence: segment.readUInt32BE(4),
    syn: (flags & 0x02) !== 0,
    ack: (flags & 0x10) !== 0,
    payload: segment.subarray(headerBytes),
  };
}

function ipv4Text(packet: Buffer, offset: number): string {
  return [...packet.subarray(offset, offset + 4)].join('.');
}

/** Eight groups without abbreviation: an address has one text only. */
function ipv6Text(packet: Buffer, offset: number): string {
  return Array.from({ length: 8 }, (_, group) => packet.readUInt16BE(offset + 2 * group).toString(16)).join(':');
}
