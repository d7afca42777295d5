import { collectFlows, type End, type StrayPacket, type TcpFlow } from './flows.ts';
import { readPcap } from './pcap.ts';
import { arrivalAt, type Run, reassemble, type Segment } from './stream.ts';
import { excerpt, readableText } from './text.ts';
import { readTls, type TlsReading } from './tls.ts';
import { TLS_1_3 } from './tls-hello.ts';

/** The port of the mesh's tunnel (HBONE). */
export const TUNNEL_PORT = 15008;

const ICMP_PROTOCOLS = new Set([1, 58]);

/** Payload that somebody on the wire could read, or that cannot be shown to be encrypted. */
export interface Readable {
  /** Microseconds since 1970. */
  readonly at: number;
  readonly bytes: number;
  readonly what: string;
  readonly sample: string;
}

export interface FlowReport {
  readonly client: End;
  readonly server: End;
  /** Microseconds since 1970 of the first and the last packet. */
  readonly firstAt: number;
  readonly lastAt: number;
  readonly readable: readonly Readable[];
  /** For connections to the tunnel's port. */
  readonly tls: TlsReport | undefined;
}

export interface TlsReport {
  /** Both hellos were captured and say TLS 1.3, so that the certificates of both sides are encrypted. */
  readonly handshakeSeen: boolean;
  readonly alpn: readonly string[];
  readonly records: number;
  readonly encryptedBytes: number;
  /** Microseconds since 1970; undefined when nothing encrypted was captured. */
  readonly firstEncryptedAt: number | undefined;
  /** The first bytes of an encrypted record, hexadecimal; empty when nothing encrypted was captured. */
  readonly sample: string;
}

export interface CaptureReport {
  /** Packets in the capture, of whoever. */
  readonly packets: number;
  /** Packets between the addresses of interest of which bytes are missing in the capture. */
  readonly truncated: number;
  /** Connections between two addresses of interest. */
  readonly flows: readonly FlowReport[];
  /** Readable payload between them that is not TCP. */
  readonly other: readonly Readable[];
}

/**
 * What a packet capture gives away of the traffic between the given addresses. Any TCP payload that is not on the
 * tunnel's port counts as readable, and so does anything on that port that is not TLS 1.3 from its first byte on.
 * Throws when the file is no packet capture.
 */
export function analyseCapture(file: Buffer, addresses: ReadonlySet<string>): CaptureReport {
  const capture = readPcap(file);
  const flows = collectFlows(capture.linkType, capture.packets, (address) => addresses.has(address));
  return {
    packets: capture.packets.length,
    truncated: flows.truncated,
    flows: flows.tcp.map(reportFlow),
    other: flows.other.filter(({ packet }) => !ICMP_PROTOCOLS.has(packet.protocol)).map(reportStray),
  };
}

function reportFlow(flow: TcpFlow): FlowReport {
  const times = [...flow.fromClient, ...flow.fromServer].map((segment) => segment.at);
  const ends = {
    client: flow.client,
    server: flow.server,
    firstAt: times.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    lastAt: times.reduce((a, b) => Math.max(a, b), 0),
  };
  if (flow.server.port !== TUNNEL_PORT) {
    const readable = [...flow.fromClient, ...flow.fromServer].flatMap(readablePayload);
    return { ...ends, readable: readable.sort((a, b) => a.at - b.at), tls: undefined };
  }
  const client = readDirection(flow.fromClient, 'client', flow.clientSyn);
  const server = readDirection(flow.fromServer, 'server', flow.serverSyn);
  return { ...ends, readable: [...client.readable, ...server.readable], tls: tlsReport(client, server) };
}

function readablePayload({ at, payload }: Segment): Readable[] {
  if (payload.length === 0) return [];
  const sample = readableText(payload) ?? excerpt(payload);
  return [{ at, bytes: payload.length, what: 'payload outside the tunnel', sample }];
}

interface Direction {
  readonly readable: readonly Readable[];
  readonly readings: readonly { readonly run: Run; readonly tls: TlsReading }[];
}

function readDirection(
  segments: readonly Segment[],
  side: 'client' | 'server',
  initialSequence: number | undefined,
): Direction {
  const stream = reassemble(segments, initialSequence);
  const readings = stream.runs.map((run) => ({ run, tls: readTls(run.bytes, side, run.fromStart) }));
  const problems = readings.flatMap(({ run, tls }) =>
    tls.problems.map(({ offset, bytes, what, sample }) => ({ at: arrivalAt(run, offset), bytes, what, sample })),
  );
  const contradictions = stream.contradictions.map(({ at, payload }) => ({
    at,
    bytes: payload.length,
    what: 'a retransmission with other content',
    sample: excerpt(payload),
  }));
  return { readable: [...problems, ...contradictions], readings };
}

function tlsReport(client: Direction, server: Direction): TlsReport {
  const readings = [...client.readings, ...server.readings];
  const hellos = [client, server].map(({ readings: [first] }) => first?.tls.hello);
  const firstEncrypted = readings.flatMap(({ run, tls }) =>
    tls.firstEncrypted === undefined ? [] : [arrivalAt(run, tls.firstEncrypted)],
  );
  return {
    handshakeSeen: hellos.every((hello) => hello?.version === TLS_1_3),
    alpn: hellos[0]?.alpn ?? [],
    records: readings.reduce((sum, { tls }) => sum + tls.records, 0),
    encryptedBytes: readings.reduce((sum, { tls }) => sum + tls.encryptedBytes, 0),
    firstEncryptedAt: firstEncrypted.length === 0 ? undefined : Math.min(...firstEncrypted),
    sample: readings.map(encryptedSample).find((sample) => sample !== '') ?? '',
  };
}

function encryptedSample({ run, tls }: Direction['readings'][number]): string {
  const begin = tls.firstEncrypted;
  return begin === undefined ? '' : run.bytes.toString('hex', begin, begin + 24);
}

function reportStray({ at, packet }: StrayPacket): Readable {
  const what = packet.protocol === 6 ? 'a TCP fragment or broken segment' : `IP protocol ${packet.protocol}`;
  return { at, bytes: packet.payload.length, what, sample: readableText(packet.payload) ?? excerpt(packet.payload) };
}
