/**
 * Reads packet captures as `tcpdump -w` writes them.
 * Format: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html
 */

export interface CapturedPacket {
  /** Microseconds since 1970. */
  readonly at: number;
  readonly frame: Buffer;
  /** Bytes of the packet that the capture left out. */
  readonly missingBytes: number;
}

export interface Capture {
  readonly linkType: LinkType;
  readonly packets: readonly CapturedPacket[];
  /** The file stops inside a packet, as that of a capture still being written does. */
  readonly endsInsidePacket: boolean;
}

export type LinkType = 'ethernet' | 'linux-sll2';

const LINK_TYPES: Readonly<Record<number, LinkType>> = { 1: 'ethernet', 276: 'linux-sll2' };
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;

/** Reads a whole capture; throws when it is no pcap file or of a link type this reader does not know. */
export function readPcap(file: Buffer): Capture {
  if (file.length < FILE_HEADER_BYTES) throw new Error(`not a packet capture: only ${file.length} bytes long`);
  const { littleEndian, nanoseconds } = byteOrder(file);
  const word = (offset: number) => (littleEndian ? file.readUInt32LE(offset) : file.readUInt32BE(offset));
  // The upper bits of the field may carry the length of a frame check sequence.
  const linkType = LINK_TYPES[word(20) & 0xffff];
  if (linkType === undefined) throw new Error(`packet capture of link type ${word(20) & 0xffff}: not known here`);

  const packets: CapturedPacket[] = [];
  let offset = FILE_HEADER_BYTES;
  while (offset + RECORD_HEADER_BYTES <= file.length) {
    const captured = word(offset + 8);
    const end = offset + RECORD_HEADER_BYTES + captured;
    if (end > file.length) break;
    const fraction = nanoseconds ? Math.floor(word(offset + 4) / 1000) : word(offset + 4);
    packets.push({
      at: word(offset) * 1_000_000 + fraction,
      frame: file.subarray(offset + RECORD_HEADER_BYTES, end),
      missingBytes: Math.max(0, word(offset + 12) - captured),
    });
    offset = end;
  }
  return { linkType, packets, endsInsidePacket: offset !== file.length };
}

function byteOrder(file: Buffer): { littleEndian: boolean; nanoseconds: boolean } {
  for (const littleEndian of [true, false]) {
    const magic = littleEndian ? file.readUInt32LE(0) : file.readUInt32BE(0);
    if (magic === MAGIC_MICROSECONDS) return { littleEndian, nanoseconds: false };
    if (magic === MAGIC_NANOSECONDS) return { littleEndian, nanoseconds: true };
  }
  throw new Error(`not a packet capture: it begins with ${file.toString('hex', 0, 4)}`);
}
