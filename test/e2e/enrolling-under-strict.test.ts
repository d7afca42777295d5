import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, get, httpServer, idle, pod, podAddress, setMode, waitReady } from './workloads.ts';

const NS = 'enrolling';
const OUTSIDE = 'enrolling-outside';
const servers = { 'server-1': 'node-1', 'server-2': 'node-2' };
const clients = { 'client-1': 'node-1', 'client-2': 'node-2' };
const rounds = 3;

/** Asks each server ten times a second, each time on a new connection; prints failures, and how many answers there were. */
const asks = (addresses: readonly string[]) => `
  const http = require('http');
  let answers = 0;
  for (const host of ${JSON.stringify(addresses)}) setInterval(() => {
    const failed = (e) => console.log('failed ' + host + ' ' + e.code + ' ' + new Date().toISOString());
    http.get({ host, port: 8080, agent: false, timeout: 5000 }, (r) => r.on('error', failed).on('end', () => answers++).resume())
      .on('timeout', function () { this.destroy(Object.assign(new Error(), { code: 'TIMEOUT' })); }).on('error', failed);
  }, 100);
  setInterval(() => console.log('answers ' + answers), 200);
  process.on('SIGTERM', () => process.exit(0));`;

describe('a namespace that is labelled while the mesh is in Strict', () => {
  let mesh: MeshCluster;
  let addresses: string[];

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS);
    await createNamespace(mesh, OUTSIDE);
    const server = ([name, node]: [string, string]) => pod({ name, namespace: NS, node, script: httpServer() });
    await mesh.apply([
      ...Object.entries(servers).map(server),
      pod({ name: 'stranger', namespace: OUTSIDE, node: 'node-1', script: idle }),
    ]);
    await waitReady(mesh, NS, ...Object.keys(servers));
    await waitReady(mesh, OUTSIDE, 'stranger');
    addresses = await Promise.all(Object.keys(servers).map((name) => podAddress(mesh, NS, name)));
    const client = ([name, node]: [string, string]) => pod({ name, namespace: NS, node, script: asks(addresses) });
    await mesh.apply(Object.entries(clients).map(client));
    await waitReady(mesh, NS, ...Object.keys(clients));
    await setMode(mesh, 'Strict');
  });

  after(async () => {
    await setMode(mesh, 'Permissive');
    await mesh.kubectl('delete', 'namespace', NS, OUTSIDE, '--wait=false');
  });

  const said = async (client: string) => (await mesh.kubectl('-n', NS, 'logs', client)).trim().split('\n');
  const answers = async (client: string) =>
    Number((await said(client)).findLast((line) => line.startsWith('answers'))?.split(' ')[1]);
  const more = async () => {
    for (const client of Object.keys(clients)) {
      const before = await answers(client);
      await until(`${client} had 20 more answers`, async () => (await answers(client)) > before + 20, {
        limitMs: 30_000,
      });
    }
  };

  it('R24 R30 refuses nothing between its pods while they are enrolled and while they leave, and everybody else between', async function () {
    this.timeout(300_000);
    for (let round = 0; round < rounds; round++) {
      await more();
      await mesh.kubectl('label', 'namespace', NS, 'mesh.tulle.dev/mode=ambient');
      await mesh.untilSecured(NS, 4);
      await more();
      const address = addresses[1];
      assert.match(await get(mesh, OUTSIDE, 'stranger', `http://${address}:8080/`), /^(ECONNRESET|ECONNREFUSED)/);
      await mesh.kubectl('label', 'namespace', NS, 'mesh.tulle.dev/mode-');
      await until('nobody of it is in the mesh', async () => (await mesh.enrolment(NS)).size === 0, {
        limitMs: 120_000,
      });
    }
    const failures = await Promise.all(Object.keys(clients).map(said));
    assert.deepEqual(
      failures.flat().filter((line) => line.startsWith('failed')),
      [],
    );
  });
});
