/** What the demo prints, as text. */

import type { IdentityPair } from './identities.ts';
import type { Finding } from './promises.ts';
import type { EnrolmentProgress } from './shop.ts';
import type { ReadableCall, TunnelTraffic } from './wire.ts';

/** One readable call of each kind: HTTP and Redis where there are both. */
export function readableExcerpts(readable: readonly ReadableCall[]): string[] {
  const excerpts = new Map<string, string>();
  for (const { from, to, port, sample } of readable) {
    const asked = /^(?:GET|PUT|POST) |^\*\d/.test(sample);
    const kind = `${from} → ${to}`;
    if (asked && !excerpts.has(kind)) excerpts.set(kind, `${kind}, port ${port}: ${sample.slice(0, 140)}`);
  }
  return [...excerpts.values()];
}

/** What the same calls look like in the tunnel. */
export function tunnelLines(traffic: readonly TunnelTraffic[]): string[] {
  return traffic.map(({ from, to, connections, encryptedBytes, sample }) => {
    const bytes = sample.replaceAll(/../g, '$& ');
    return `${from} → ${to}, port 15008: TLS 1.3, ${connections} ${connections === 1 ? 'tunnel' : 'tunnels'}, ${encryptedBytes} bytes: ${bytes}…`;
  });
}

export function progressText(progress: EnrolmentProgress, pods: number): string {
  const { secured, pending, failed, existingConnections } = progress;
  const parts = [`${secured} of ${pods} pods Secured`, `${pending} Pending`];
  if (failed > 0) parts.push(`${failed} Failed`);
  parts.push(`existing connections: ${existingConnections}`);
  return parts.join(', ');
}

/** A line for each kind of connection, with the identities of its two ends. */
export function identityLines(pairs: readonly IdentityPair[]): string[] {
  return pairs.map(({ from, to, countedBySource, countedByDestination }) => {
    const counts = `${countedBySource} connections counted by the source, ${countedByDestination} by the destination`;
    return `${from}\n  → ${to}   ${counts}`;
  });
}

export function findingLines(findings: readonly Finding[]): string[] {
  return findings.map(({ promise, holds, seen }) => `${holds ? '✓' : '✗'} ${promise}\n    ${seen}`);
}

/** Microseconds as seconds, for people. */
export function secondsText(micros: number): string {
  return `${(micros / 1e6).toFixed(2)} s`;
}
