import { analyseCapture, type CaptureReport, type FlowReport, type Readable, TUNNEL_PORT } from './capture/analyse.ts';
import type { NodeCapture } from './recorder.ts';
import type { PodFacts } from './shop.ts';

/** What was captured on one node. */
export interface NodeWire {
  readonly node: string;
  readonly report: CaptureReport;
  /** Packets that the capture missed. */
  readonly dropped: number;
}

/** A stretch of time, microseconds since 1970, both ends included. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** A readable payload and whose it is. */
export interface ReadableCall extends Readable {
  readonly from: string;
  readonly to: string;
  readonly port: number;
}

/** Traffic from one part of the shop to another, between nodes, in a window. */
export interface TunnelTraffic {
  readonly from: string;
  readonly to: string;
  /** Connections to the tunnel's port that encrypted bytes went through. */
  readonly connections: number;
  /** Those of which the whole TLS 1.3 handshake was captured. */
  readonly handshakesSeen: number;
  readonly encryptedBytes: number;
  /** The first bytes of an encrypted record, hexadecimal. */
  readonly sample: string;
}

/** Reads what was captured between these pods. */
export function analyseWires(captures: readonly NodeCapture[], pods: readonly PodFacts[]): NodeWire[] {
  const addresses = new Set(pods.map(({ address }) => address));
  return captures.map(({ node, file, dropped }) => ({ node, report: analyseCapture(file, addresses), dropped }));
}

/** All readable payload between pods in the window. A packet that two nodes captured counts twice. */
export function readableIn(wires: readonly NodeWire[], pods: readonly PodFacts[], window: Window): ReadableCall[] {
  const calls = wires.flatMap(({ report }) => [
    ...report.flows.flatMap((flow) =>
      flow.readable.map((readable) => ({
        ...readable,
        from: partAt(pods, flow.client.address),
        to: partAt(pods, flow.server.address),
        port: flow.server.port,
      })),
    ),
    ...report.other.map((readable) => ({ ...readable, from: 'shop', to: 'shop', port: 0 })),
  ]);
  return calls.filter(({ at }) => at >= window.from && at <= window.to);
}

/** The connections through the tunnel that carried something encrypted and were there in the window. */
export function tunnelTraffic(wires: readonly NodeWire[], pods: readonly PodFacts[], window: Window): TunnelTraffic[] {
  const traffic = new Map<string, { from: string; to: string; flows: Map<string, FlowReport> }>();
  for (const flow of wires.flatMap(({ report }) => report.flows)) {
    const encrypted = (flow.tls?.encryptedBytes ?? 0) > 0;
    if (flow.server.port !== TUNNEL_PORT || !encrypted || !overlaps(flow, window)) continue;
    const [from, to] = [partAt(pods, flow.client.address), partAt(pods, flow.server.address)];
    const entry = traffic.get(`${from} ${to}`) ?? { from, to, flows: new Map() };
    // The same connection is captured on both of its nodes.
    const key = [flow.client.address, flow.client.port, flow.server.address, Math.round(flow.firstAt / 1e6)].join(' ');
    const seenWhole = entry.flows.get(key)?.tls?.handshakeSeen === true;
    if (!seenWhole) entry.flows.set(key, flow);
    traffic.set(`${from} ${to}`, entry);
  }
  return [...traffic.values()].map(({ from, to, flows }) => ({
    from,
    to,
    connections: flows.size,
    handshakesSeen: [...flows.values()].filter((flow) => flow.tls?.handshakeSeen).length,
    encryptedBytes: [...flows.values()].reduce((sum, flow) => sum + (flow.tls?.encryptedBytes ?? 0), 0),
    sample: [...flows.values()].map((flow) => flow.tls?.sample).find((sample) => sample) ?? '',
  }));
}

/** When the first encrypted byte between two pods passed, after `since`; microseconds since 1970. */
export function firstEncryptedByte(wires: readonly NodeWire[], since: number): number | undefined {
  const times = wires
    .flatMap(({ report }) => report.flows)
    .map((flow) => flow.tls?.firstEncryptedAt)
    .filter((at) => at !== undefined && at >= since);
  return times.length === 0 ? undefined : times.reduce((a = 0, b = 0) => Math.min(a, b));
}

function overlaps(flow: FlowReport, window: Window): boolean {
  return flow.firstAt <= window.to && flow.lastAt >= window.from;
}

function partAt(pods: readonly PodFacts[], address: string): string {
  return pods.find((pod) => pod.address === address)?.part ?? address;
}
