import type { MeshNodePod } from '../../src/api/mesh-node.ts';
import { TUNNEL_PORT } from './capture/analyse.ts';
import type { IdentityPair } from './identities.ts';
import { CALLS, enrolmentProgress, type PodFacts, SHOP, type Visits } from './shop.ts';
import { firstEncryptedByte, type NodeWire, readableIn, tunnelTraffic, type Window } from './wire.ts';

/** Everything the demo saw. Times are microseconds since 1970. */
export interface DemoFacts {
  readonly trustDomain: string;
  readonly podsBefore: readonly PodFacts[];
  readonly podsAfter: readonly PodFacts[];
  readonly visitsBefore: Visits;
  readonly visitsAfter: Visits;
  readonly states: readonly MeshNodePod[];
  readonly identities: readonly IdentityPair[];
  readonly wires: readonly NodeWire[];
  /** The shop without the mesh, the last moment before the label. */
  readonly before: Window;
  /** From the moment that no existing connection was left. */
  readonly after: Window;
}

/** One thing the demo promises, whether it is so, and what was seen. */
export interface Finding {
  readonly promise: string;
  readonly holds: boolean;
  readonly seen: string;
}

/** Holds what was seen against what Tulle promises. */
export function judge(facts: DemoFacts): Finding[] {
  return [
    captureWhole(facts),
    readableBefore(facts),
    everyPodSecured(facts),
    encryptedAfter(facts),
    nothingReadable(facts),
    tunnelAlwaysEncrypted(facts),
    identitiesSeen(facts),
    podsUntouched(facts),
    noRequestLost(facts),
  ];
}

/** Microseconds from the label to the first encrypted byte between two pods of the shop. */
export function timeToFirstEncryptedByte(facts: DemoFacts): number | undefined {
  const at = firstEncryptedByte(facts.wires, facts.before.to);
  return at === undefined ? undefined : at - facts.before.to;
}

/** Less than all packets would prove nothing. */
function captureWhole({ wires }: DemoFacts): Finding {
  const packets = wires.reduce((sum, { report }) => sum + report.packets, 0);
  const dropped = wires.reduce((sum, wire) => sum + wire.dropped, 0);
  const truncated = wires.reduce((sum, { report }) => sum + report.truncated, 0);
  return {
    promise: 'every packet between the nodes was captured, whole',
    holds: wires.length > 0 && dropped === 0 && truncated === 0,
    seen: `${packets} packets on ${wires.length} nodes, ${dropped} missed, ${truncated} cut off`,
  };
}

/** Else the capture would be blind, and silence after the label would mean nothing. */
function readableBefore(facts: DemoFacts): Finding {
  const readable = readableIn(facts.wires, facts.podsBefore, facts.before);
  const missing = CALLS.filter(([from, to]) => !readable.some((call) => call.from === from && call.to === to));
  const bytes = readable.reduce((sum, call) => sum + call.bytes, 0);
  return {
    promise: 'before the label, every kind of call is readable between the nodes',
    holds: missing.length === 0,
    seen: missing.length === 0 ? `${bytes} bytes` : `nothing of ${missing.map(arrow).join(', ')}`,
  };
}

function everyPodSecured({ podsAfter, states }: DemoFacts): Finding {
  const progress = enrolmentProgress(podsAfter, states);
  const others = states.filter((pod) => pod.state !== 'Secured' || pod.existingConnections > 0);
  const why = others.map((pod) => `; ${pod.name}: ${pod.state} ${pod.reason} ${pod.message}`).join('');
  return {
    promise: 'every pod is Secured, and no existing connection is left',
    holds: progress.done,
    seen: `${progress.secured} of ${podsAfter.length} Secured, ${progress.existingConnections} existing connections${why}`,
  };
}

function encryptedAfter(facts: DemoFacts): Finding {
  const traffic = tunnelTraffic(facts.wires, facts.podsAfter, facts.after);
  const missing = CALLS.filter(
    ([from, to]) => !traffic.some((entry) => entry.from === from && entry.to === to && entry.handshakesSeen > 0),
  );
  return {
    promise: `after it, every kind of call goes between the nodes as TLS 1.3 on port ${TUNNEL_PORT}`,
    holds: missing.length === 0,
    seen:
      missing.length > 0
        ? `no such connection for ${missing.map(arrow).join(', ')}`
        : traffic.map(({ from, to, connections }) => `${arrow([from, to])}: ${connections}`).join(', '),
  };
}

function nothingReadable(facts: DemoFacts): Finding {
  const readable = readableIn(facts.wires, facts.podsAfter, facts.after);
  const seconds = ((facts.after.to - facts.after.from) / 1e6).toFixed(0);
  const [first] = readable;
  return {
    promise: 'after it, nothing is readable',
    holds: readable.length === 0 && facts.after.to > facts.after.from,
    seen:
      first === undefined
        ? `0 bytes in ${seconds} s`
        : `${readable.length} pieces, first ${arrow([first.from, first.to])} port ${first.port}: ${first.what}: ${first.sample}`,
  };
}

/** In the tunnel there is no time of grace: from its first connection on, nothing in it may be readable. */
function tunnelAlwaysEncrypted(facts: DemoFacts): Finding {
  const ever = { from: 0, to: Number.MAX_SAFE_INTEGER };
  const readable = readableIn(facts.wires, facts.podsAfter, ever).filter(({ port }) => port === TUNNEL_PORT);
  return {
    promise: `nothing on port ${TUNNEL_PORT} was readable at any time`,
    holds: readable.length === 0,
    seen: readable.length === 0 ? '0 bytes' : readable.map(({ what, sample }) => `${what}: ${sample}`).join('; '),
  };
}

function identitiesSeen({ identities, trustDomain }: DemoFacts): Finding {
  const wanted = CALLS.map(([from, to]) => [spiffeId(trustDomain, from), spiffeId(trustDomain, to)] as const);
  const isPair = (pair: IdentityPair, [from, to]: readonly [string, string]) => pair.from === from && pair.to === to;
  const missing = wanted.filter(
    (want) =>
      !identities.some((pair) => isPair(pair, want) && pair.countedBySource > 0 && pair.countedByDestination > 0),
  );
  const odd = identities.filter((pair) => !wanted.some((want) => isPair(pair, want)));
  const problems = [
    ...missing.map((pair) => `not seen by both ends: ${arrow(pair)}`),
    ...odd.map(({ from, to }) => `not expected: ${arrow([from, to])}`),
  ];
  return {
    promise: 'both ends of every kind of call saw the identity of the other',
    holds: problems.length === 0,
    seen: problems.length === 0 ? `${identities.length} pairs` : problems.join('; '),
  };
}

function podsUntouched({ podsBefore, podsAfter }: DemoFacts): Finding {
  const changes = podsBefore.flatMap((before) => {
    const after = podsAfter.find(({ uid }) => uid === before.uid);
    if (after === undefined) return [`${before.name} is gone`];
    if (after.restarts !== before.restarts) return [`${before.name} was restarted`];
    const started = [after.startTime, ...after.containersStartedAt].join();
    return started === [before.startTime, ...before.containersStartedAt].join() ? [] : [`${before.name} started anew`];
  });
  const fresh = podsAfter.filter(({ uid }) => podsBefore.every((before) => before.uid !== uid));
  changes.push(...fresh.map(({ name }) => `${name} is new`));
  return {
    promise: 'no pod was restarted or replaced',
    holds: changes.length === 0 && podsBefore.length > 0,
    seen:
      changes.length === 0 ? `${podsAfter.length} pods: same UIDs, restart counts and start times` : changes.join(', '),
  };
}

function noRequestLost({ visitsBefore, visitsAfter }: DemoFacts): Finding {
  const visited = visitsAfter.ok - visitsBefore.ok;
  const sameRun = visitsAfter.since !== null && visitsAfter.since === visitsBefore.since;
  const texts = visitsAfter.recentFailures.map(({ at, text }) => `; ${at} ${text}`).join('');
  return {
    promise: 'no request of the visitor failed',
    holds: visitsAfter.failed === 0 && visited > 0 && sameRun,
    seen: `${visitsAfter.failed} failed, ${visited} visits succeeded since the label${sameRun ? '' : '; the visitor began anew'}${texts}`,
  };
}

export function spiffeId(trustDomain: string, part: string): string {
  return `spiffe://${trustDomain}/ns/${SHOP}/sa/${part}`;
}

function arrow([from, to]: readonly [string, string]): string {
  return `${from} → ${to}`;
}
