/** Builds packet captures byte by byte. */

export interface FixturePacket {
  readonly from: string;
  readonly to: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly sequence?: number;
  readonly flags?: number;
  readonly payload?: Buffer | string;
  /** IP protocol; TCP when not given. */
  readonly protocol?: number;
  /** The field of IPv4 flags and fragment offset. */
  readonly fragment?: number;
  /** Milliseconds since the capture began. */
  readonly atMs?: number;
  /** How much of the frame is kept. */
  readonly snap?: number;
}

export const SYN = 0x02;
export const ACK = 0x10;

/** The first packet of every capture is at this time, microseconds since 1970. */
export const BEGIN = 1_700_000_000_000_000;

export interface PcapOptions {
  readonly littleEndian?: boolean;
  readonly nanoseconds?: boolean;
  readonly linkType?: number;
}

/** A capture file with these packets. */
export function pcap(packets: readonly FixturePacket[], options: PcapOptions = {}): Buffer {
  const { littleEndian = true, nanoseconds = false, linkType = 1 } = options;
  const words = (...values: number[]) => {
    const bytes = Buffer.alloc(4 * values.length);
    values.forEach((value, i) => {
      if (littleEndian) bytes.writeUInt32LE(value, 4 * i);
      else bytes.writeUInt32BE(value, 4 * i);
    });
    return bytes;
  };
  const magic = nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4;
  const records = packets.map((packet) => {
    const frame = Buffer.concat([linkHeader(linkType), ipv4(packet)]);
    const kept = frame.subarray(0, packet.snap ?? frame.length);
    const micros = BEGIN + Math.round((packet.atMs ?? 0) * 1000);
    const fraction = (micros % 1_000_000) * (nanoseconds ? 1000 : 1);
    return Buffer.concat([words(Math.floor(micros / 1_000_000), fraction, kept.length, frame.length), kept]);
  });
  return Buffer.concat([words(magic, 0x0004_0002, 0, 0, 262144, linkType), ...records]);
}

/** One side's bytes as segments of at most `size`, after its SYN. */
export function send(
  ends: Pick<FixturePacket, 'from' | 'to' | 'sourcePort' | 'destinationPort'>,
  bytes: Buffer,
  options: { initialSequence?: number; size?: number; atMs?: number; syn?: boolean; synAck?: boolean } = {},
): FixturePacket[] {
  const { initialSequence = 1000, size = 1400, atMs = 0, syn = true, synAck = false } = options;
  const opening = { ...ends, sequence: initialSequence, flags: synAck ? SYN | ACK : SYN, atMs };
  const segments: FixturePacket[] = [];
  for (let offset = 0; offset < bytes.length; offset += size) {
    const sequence = (initialSequence + 1 + offset) >>> 0;
    segments.push({ ...ends, sequence, flags: ACK, atMs: atMs + 1, payload: bytes.subarray(offset, offset + size) });
  }
  return syn ? [opening, ...segments] : segments;
}

function linkHeader(linkType: number): Buffer {
  if (linkType === 1) return Buffer.from('0202020202020404040404040800', 'hex');
  const sll2 = Buffer.alloc(20);
  sll2.writeUInt16BE(0x0800, 0);
  return sll2;
}

function ipv4(packet: FixturePacket): Buffer {
  const { protocol = 6 } = packet;
  const body = protocol === 6 ? tcp(packet) : Buffer.from(packet.payload ?? '');
  const header = Buffer.alloc(20);
  header.writeUInt8(0x45, 0);
  header.writeUInt16BE(20 + body.length, 2);
  header.writeUInt16BE(packet.fragment ?? 0x4000, 6);
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  for (const [i, part] of packet.from.split('.').entries()) header.writeUInt8(Number(part), 12 + i);
  for (const [i, part] of packet.to.split('.').entries()) header.writeUInt8(Number(part), 16 + i);
  return Buffer.concat([header, body]);
}

function tcp(packet: FixturePacket): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(packet.sourcePort ?? 40000, 0);
  header.writeUInt16BE(packet.destinationPort ?? 8080, 2);
  header.writeUInt32BE(packet.sequence ?? 1001, 4);
  header.writeUInt8(0x50, 12);
  header.writeUInt8(packet.flags ?? ACK, 13);
  return Buffer.concat([header, Buffer.from(packet.payload ?? '')]);
}
