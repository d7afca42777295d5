import { type Mesh, parseMeshSpec } from '../api/mesh.ts';
import type { MeshNode, MeshNodePod, PodState } from '../api/mesh-node.ts';
import { printable, table } from './table.ts';

/** What `tulle status` says; also its JSON. */
export interface StatusReport {
  readonly mesh: {
    readonly trustDomain: string;
    readonly mtls: string;
    readonly conditions: readonly { type: string; status: string; reason: string; message: string }[];
  };
  readonly nodes: readonly NodeReport[];
  readonly pods: readonly PodReport[];
  /** Of the pods above, by state. */
  readonly counts: Readonly<Record<'secured' | 'pending' | 'failed' | 'optedOut', number>>;
}

export interface NodeReport {
  readonly name: string;
  readonly agent: string | undefined;
  readonly proxy: { readonly version: string; readonly ready: boolean } | undefined;
  /** What keeps the node's pods out; undefined when nothing does. */
  readonly problem: string | undefined;
}

export interface PodReport
  extends Pick<MeshNodePod, 'namespace' | 'name' | 'state' | 'reason' | 'message' | 'existingConnections' | 'since'> {
  readonly node: string;
}

/** From what the nodes report. `namespace`: only its pods. */
export function statusReport(mesh: Mesh, meshNodes: readonly MeshNode[], namespace?: string): StatusReport {
  const spec = parseMeshSpec(mesh.spec).spec;
  const pods = meshNodes
    .flatMap(({ metadata, status }) => (status?.pods ?? []).map((pod) => podReport(pod, metadata.name)))
    .filter((pod) => namespace === undefined || pod.namespace === namespace)
    .sort((a, b) => order(a.namespace, b.namespace) || order(a.name, b.name));
  const count = (state: PodState) => pods.filter((pod) => pod.state === state).length;
  return {
    mesh: {
      trustDomain: spec?.trustDomain ?? 'unknown',
      mtls: spec?.mtls.mode ?? 'unknown',
      conditions: (mesh.status?.conditions ?? []).map(({ type, status, reason, message }) => ({
        type,
        status,
        reason,
        message,
      })),
    },
    nodes: meshNodes.map(nodeReport).sort((a, b) => order(a.name, b.name)),
    pods,
    counts: {
      secured: count('Secured'),
      pending: count('Pending'),
      failed: count('Failed'),
      optedOut: count('OptedOut'),
    },
  };
}

function podReport(pod: MeshNodePod, node: string): PodReport {
  const { namespace, name, state, reason, message, existingConnections, since } = pod;
  return { namespace, name, node, state, reason, message, existingConnections, since };
}

function nodeReport({ metadata, status }: MeshNode): NodeReport {
  const { agent, proxy, cni } = status ?? {};
  return {
    name: metadata.name,
    agent: agent?.version,
    proxy: proxy && { version: proxy.version, ready: proxy.ready },
    problem: problemOf(agent !== undefined, proxy, cni),
  };
}

function problemOf(
  hasAgent: boolean,
  proxy: { ready: boolean } | undefined,
  cni: { installed: boolean; message?: string } | undefined,
): string | undefined {
  if (!hasAgent) return 'its agent has not reported yet: is tulle-agent running on it?';
  if (proxy === undefined) return 'no proxy is connected: is tulle-proxy running on it?';
  if (!proxy.ready) return 'its proxy is not ready: see the log of tulle-proxy on it';
  if (cni?.installed === false) return `new pods are not captured: ${cni.message || 'the CNI plugin is not installed'}`;
  return undefined;
}

function order(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** For a terminal. `now` in ms since the epoch. */
export function statusText({ mesh, nodes, pods, counts }: StatusReport, now: number): string {
  const conditions = mesh.conditions.map(
    ({ type, status, reason }) => `${type}=${status}${status === 'True' ? '' : ` (${reason})`}`,
  );
  const state =
    conditions.length === 0 ? 'no condition reported yet: is tulle-operator running?' : conditions.join(', ');
  return [
    `Mesh default: trust domain ${mesh.trustDomain}, mTLS ${mesh.mtls}, ${state}\n`,
    ...mesh.conditions.filter(isTrouble).map(({ type, message }) => `  ${type}: ${printable(message)}\n`),
    '\n',
    nodesText(nodes),
    '\n',
    podsText(pods, counts, now),
  ].join('');
}

/** Removing is the one condition that is no trouble when it is not True. */
function isTrouble({ type, status }: { type: string; status: string }): boolean {
  return type === 'Removing' ? status === 'True' : status !== 'True';
}

function nodesText(nodes: readonly NodeReport[]): string {
  if (nodes.length === 0) return 'No node has reported yet.\n';
  const rows = nodes.map(({ name, agent, proxy, problem }) => [
    name,
    agent ?? '-',
    proxy === undefined ? '-' : `${proxy.version}${proxy.ready ? '' : ' (not ready)'}`,
    problem ?? '',
  ]);
  return table([['NODE', 'AGENT', 'PROXY', ''], ...rows]);
}

function podsText(pods: readonly PodReport[], counts: StatusReport['counts'], now: number): string {
  if (pods.length === 0) {
    return 'No pod is in the mesh here. Label a namespace: kubectl label namespace <name> mesh.tulle.dev/mode=ambient\n';
  }
  const rows = pods.map((pod) => [pod.namespace, pod.name, pod.node, pod.state, age(pod.since, now), why(pod)]);
  const { secured, optedOut } = counts;
  return [
    table([['NAMESPACE', 'POD', 'NODE', 'STATE', 'SINCE', ''], ...rows]),
    `\n${secured} of ${pods.length - optedOut} pods secured.\n`,
    optedOut === 0 ? '' : leftText(pods.filter(({ state }) => state === 'OptedOut')),
  ].join('');
}

function leftText(pods: readonly PodReport[]): string {
  const who =
    pods.length === 1 ? '1 opted out by its own label and is' : `${pods.length} opted out by their own label and are`;
  const names = pods.slice(0, 5).map(({ namespace, name }) => printable(`${namespace}/${name}`));
  const more = pods.length - names.length;
  return `${who} left in plaintext: ${names.join(', ')}${more > 0 ? `, and ${more} more` : ''}.\n`;
}

function why({ state, reason, message }: PodReport): string {
  if (state === 'Secured') return '';
  return message === '' ? reason : `${reason}: ${message}`;
}

/** How long ago, in one unit: 12s, 5m, 3h, 2d. */
export function age(since: string, now: number): string {
  const seconds = Math.max(Math.floor((now - Date.parse(since)) / 1000), 0);
  if (Number.isNaN(seconds)) return '-';
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
