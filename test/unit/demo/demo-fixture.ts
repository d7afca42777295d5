import type { CaptureReport, FlowReport, TlsReport } from '../../../hack/demo/capture/analyse.ts';
import type { DemoFacts } from '../../../hack/demo/promises.ts';
import type { PodFacts, Visits } from '../../../hack/demo/shop.ts';
import type { MeshNodePod } from '../../../src/api/mesh-node.ts';

/** Times in seconds of a demo that went well: the label at 10, everything settled at 40, the end at 50. */
export const SECOND = 1_000_000;
export const LABEL_AT = 10 * SECOND;
export const SETTLED_AT = 40 * SECOND;

const PARTS = ['visitor', 'web', 'cart', 'redis'];
const CALLS = [
  ['visitor', 'web'],
  ['web', 'cart'],
  ['cart', 'redis'],
] as const;

const addressOf = (part: string) => `10.244.1.${10 + PARTS.indexOf(part)}`;

export const pod = (part: string): PodFacts => ({
  uid: `uid-${part}`,
  name: `${part}-1`,
  part,
  node: 'node-1',
  address: addressOf(part),
  startTime: '2026-01-01T00:00:00Z',
  restarts: 0,
  containersStartedAt: ['2026-01-01T00:00:01Z'],
});

export const visits = (ok: number, failed = 0): Visits => ({
  since: '2026-01-01T00:00:05Z',
  ok,
  failed,
  recentFailures: failed === 0 ? [] : [{ at: '2026-01-01T00:00:20Z', text: 'GET /: socket hang up' }],
  keptConnections: { retriesOnStaleConnection: 0 },
  newConnections: { retriesOnStaleConnection: 0 },
});

export const state = (part: string): MeshNodePod => ({
  uid: `uid-${part}`,
  namespace: 'shop',
  name: `${part}-1`,
  serviceAccount: part,
  ips: [addressOf(part)],
  captured: true,
  state: 'Secured',
  reason: '',
  message: '',
  existingConnections: 0,
  since: '2026-01-01T00:00:30Z',
});

const tls: TlsReport = {
  handshakeSeen: true,
  alpn: ['h2'],
  records: 9,
  encryptedBytes: 4000,
  firstEncryptedAt: 12 * SECOND,
  sample: '1703030013',
};

/** A call from one part to another that was plain HTTP until the label, or goes through the tunnel after it. */
export function flow(from: string, to: string, port: number, at: number): FlowReport {
  const plain = { at, bytes: 100, what: 'payload outside the tunnel', sample: 'GET / HTTP/1.1' };
  return {
    client: { address: addressOf(from), port: 40000 },
    server: { address: addressOf(to), port },
    firstAt: at,
    lastAt: at + SECOND,
    readable: port === 15008 ? [] : [plain],
    tls: port === 15008 ? { ...tls, firstEncryptedAt: at } : undefined,
  };
}

export const report = (flows: readonly FlowReport[]): CaptureReport => ({
  packets: 100,
  truncated: 0,
  flows,
  other: [],
});

const identity = (part: string) => `spiffe://cluster.local/ns/shop/sa/${part}`;

export const pair = (from: string, to: string) => ({
  from: identity(from),
  to: identity(to),
  countedBySource: 3,
  countedByDestination: 3,
});

/** A demo in which everything is as promised. */
export function goodFacts(): DemoFacts {
  const plain = CALLS.map(([from, to]) => flow(from, to, 8080, 5 * SECOND));
  const tunnel = CALLS.map(([from, to]) => ({ ...flow(from, to, 15008, 12 * SECOND), lastAt: 45 * SECOND }));
  return {
    trustDomain: 'cluster.local',
    podsBefore: PARTS.map(pod),
    podsAfter: PARTS.map(pod),
    visitsBefore: visits(50),
    visitsAfter: visits(450),
    states: PARTS.map(state),
    identities: CALLS.map(([from, to]) => pair(from, to)),
    wires: [{ node: 'node-1', report: report([...plain, ...tunnel]), dropped: 0 }],
    before: { from: 4 * SECOND, to: LABEL_AT },
    after: { from: SETTLED_AT, to: 50 * SECOND },
  };
}
