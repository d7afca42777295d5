/** The identities of the two ends of the mesh's connections, from the proxies' metrics. */

export interface SeenIdentities {
  readonly sourceNamespace: string;
  readonly sourceIdentity: string;
  readonly destinationNamespace: string;
  readonly destinationIdentity: string;
  /** Which proxy counted: that of the connection's source or of its destination. */
  readonly reporter: string;
  /** `mutual_tls` for what went through the tunnel. */
  readonly security: string;
  readonly connections: number;
}

const METRIC = 'istio_tcp_connections_opened_total';

/** Reads the connection counters out of a page in Prometheus' text format; other metrics are left out. */
export function seenIdentities(page: string): SeenIdentities[] {
  return page.split('\n').flatMap((line) => {
    const found = /^(\w+)\{(.*)\} ([0-9.e+]+)/.exec(line);
    if (found?.[1] !== METRIC) return [];
    const labels = parseLabels(found[2] ?? '');
    const label = (name: string) => labels.get(name) ?? 'unknown';
    return [
      {
        sourceNamespace: label('source_workload_namespace'),
        sourceIdentity: label('source_principal'),
        destinationNamespace: label('destination_workload_namespace'),
        destinationIdentity: label('destination_principal'),
        reporter: label('reporter'),
        security: label('connection_security_policy'),
        connections: Number(found[3]),
      },
    ];
  });
}

function parseLabels(text: string): Map<string, string> {
  const labels = [...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
  return new Map(labels.map(([, name = '', value = '']) => [name, value.replaceAll(/\\(.)/g, unescaped)]));
}

function unescaped(_: string, character: string): string {
  return character === 'n' ? '\n' : character;
}

/** Connections from one identity to another, as both ends counted them. */
export interface IdentityPair {
  readonly from: string;
  readonly to: string;
  readonly countedBySource: number;
  readonly countedByDestination: number;
}

/** Sums up the connections between two pods of a namespace that went through the tunnel, by the pair of identities. */
export function identityPairs(seen: readonly SeenIdentities[], namespace: string): IdentityPair[] {
  const pairs = new Map<string, { from: string; to: string; source: number; destination: number }>();
  for (const entry of seen) {
    const inside = entry.sourceNamespace === namespace && entry.destinationNamespace === namespace;
    if (!inside || entry.security !== 'mutual_tls') continue;
    const [from, to] = [entry.sourceIdentity, entry.destinationIdentity].map(withScheme);
    if (from === undefined || to === undefined) continue;
    const pair = pairs.get(`${from} ${to}`) ?? { from, to, source: 0, destination: 0 };
    if (entry.reporter === 'source') pair.source += entry.connections;
    if (entry.reporter === 'destination') pair.destination += entry.connections;
    pairs.set(`${from} ${to}`, pair);
  }
  return [...pairs.values()].map(({ from, to, source, destination }) => ({
    from,
    to,
    countedBySource: source,
    countedByDestination: destination,
  }));
}

/** Metrics may leave the scheme of an identity out. */
function withScheme(identity: string): string {
  return identity.startsWith('spiffe://') || !identity.includes('/') ? identity : `spiffe://${identity}`;
}
