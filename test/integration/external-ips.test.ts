import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { KubeClient } from '../../src/kube/client/client.ts';
import type { MeshOperator } from '../../src/operator/operator.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { adminClient, installConfig, refusal, startOperator } from './operator-cluster.ts';

const services = '/api/v1/namespaces/default/services';
const hbone = 15008;
const podAddress = '10.99.0.7';

interface ServiceSpec {
  readonly externalIPs?: readonly string[];
  readonly ports: readonly { name: string; port: number }[];
}

function service(name: string, spec: ServiceSpec) {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec };
}
const port = (number: number) => ({ name: `p${number}`, port: number });

describe('R38 a Service whose external IP is the address of a pod', () => {
  let api: ApiServer;
  let admin: KubeClient;
  let operator: MeshOperator;
  const dryRun = { dryRun: 'All' };
  const create = (externalIPs: string[], ...numbers: number[]) =>
    refusal(admin.create(services, service('thief', { externalIPs, ports: numbers.map(port) }), dryRun));

  before(async () => {
    api = await startApiServer();
    admin = adminClient(api);
    await installConfig(api);
    await admin.create(services, service('older', { externalIPs: [podAddress], ports: [port(hbone)] }));
    operator = await startOperator(api);
    await api.kubectl('apply', '-f', 'config/samples/mesh.yaml');
    const inForce = async () => (await create([podAddress], hbone)) !== '';
    await until('the policy is in force', inForce, { limitMs: 20_000 });
  });

  after(async () => {
    await operator?.stop();
    await admin?.close();
    await api?.stop();
  });

  it('R38 cannot have the port of tunnels, and whoever asks is told what to change', async () => {
    const words = /Service thief .*15008 .*spec\.externalIPs.*another port/;
    assert.match(await create([podAddress], hbone), words);
    assert.match(await create(['fd99::7'], 80, hbone), words);
  });

  it('R38 is refused neither other ports nor, without external IPs, that one', async () => {
    assert.equal(await create([podAddress], 80), '');
    assert.equal(await create([], hbone), '');
  });

  it('R38 gets neither that port nor such an address later', async () => {
    for (const [name, spec, change] of [
      ['port', { externalIPs: [podAddress], ports: [port(80)] }, { ports: [port(hbone)] }],
      ['address', { ports: [port(hbone)] }, { externalIPs: [podAddress] }],
    ] as const) {
      await admin.create(services, service(name, spec));
      assert.match(await refusal(admin.patch(`${services}/${name}`, { spec: change }, dryRun)), /15008/, name);
    }
  });

  it('R38 that is older than the Mesh can be changed and removed, and gets no other address', async () => {
    const older = `${services}/older`;
    await admin.patch(older, { metadata: { finalizers: ['example.org/wait'] } });
    assert.match(await refusal(admin.patch(older, { spec: { externalIPs: ['10.99.0.8'] } }, dryRun)), /15008/);
    await api.kubectl('delete', 'service', 'older', '--wait=false');
    await admin.patch(older, { metadata: { finalizers: null } });
    assert.equal(await admin.find(older), undefined);
  });
});
