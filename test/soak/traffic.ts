import { pod, runIn, waitReady } from '../e2e/workloads.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';

/** What members say to each other, and nobody may read. */
export const MARKER = 'tulle-soak-marker-that-nobody-may-read';

/** What a client has seen since it was started. */
export interface Visits {
  readonly succeeded: number;
  readonly failed: number;
  /** The last failures, each with its time. */
  readonly failures: readonly string[];
}

/** Answers each line with the same line; ends a connection only when its client does. */
const server = `
  require('net').createServer((c) => { c.pipe(c); c.on('error', () => {}); }).listen(7000, '0.0.0.0');
  process.on('SIGTERM', () => process.exit(0));`;

/** Opens a connection to each of the hosts every 100 ms, sends the marker, and counts whether it came back. */
const client = (hosts: readonly string[]) => `
  const net = require('net'), hosts = ${JSON.stringify(hosts)};
  let succeeded = 0, failed = 0; const failures = [];
  const visit = (host) => {
    const fail = (why) => { failed++; failures.push(new Date().toISOString() + ' ' + host + ' ' + why); failures.splice(0, failures.length - 20); };
    const c = net.connect(7000, host); let done = false;
    c.setTimeout(10000, () => c.destroy(new Error('no answer in 10 s')));
    c.write('${MARKER}\\n');
    c.once('data', () => { done = true; succeeded++; c.end(); });
    c.on('error', (e) => { if (!done) { done = true; fail(e.code ?? e.message); } });
    c.on('close', () => { if (!done) { done = true; fail('closed without an answer'); } });
  };
  setInterval(() => hosts.forEach(visit), 100);
  require('http').createServer((q, s) => s.end(JSON.stringify({ succeeded, failed, failures }))).listen(9000, '127.0.0.1');
  process.on('SIGTERM', () => process.exit(0));`;

const nodes = ['node-1', 'node-2'];

/** Makes a server and a client on each node, each client calling both servers, and waits until all are ready. */
export async function startTraffic(mesh: MeshCluster, namespace: string): Promise<void> {
  await mesh.apply(nodes.map((node) => pod({ name: `server-${node}`, namespace, node, script: server })));
  await waitReady(mesh, namespace, ...nodes.map((node) => `server-${node}`));
  const hosts = await addresses(mesh, namespace);
  await mesh.apply(nodes.map((node) => pod({ name: `client-${node}`, namespace, node, script: client(hosts) })));
  await waitReady(mesh, namespace, ...nodes.map((node) => `client-${node}`));
}

async function addresses(mesh: MeshCluster, namespace: string): Promise<string[]> {
  const text = await mesh.kubectl('-n', namespace, 'get', 'pods', '-o', 'jsonpath={.items[*].status.podIP}');
  return text.trim().split(' ');
}

/** What each client has seen, by pod. */
export async function visits(mesh: MeshCluster, namespace: string): Promise<Map<string, Visits>> {
  const ask = `fetch('http://127.0.0.1:9000/').then((r) => r.text()).then(console.log)`;
  const names = nodes.map((node) => `client-${node}`);
  const seen = await Promise.all(names.map((name) => runIn(mesh, namespace, name, ask)));
  return new Map(names.map((name, index) => [name, JSON.parse(seen[index] ?? '') as Visits]));
}
