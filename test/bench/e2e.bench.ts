import { analyseCapture } from '../../hack/demo/capture/analyse.ts';
import { until } from '../../hack/process.ts';
import { note, step } from '../../hack/steps.ts';
import { createNamespace, idle, service } from '../e2e/workloads.ts';
import { appImage, type MeshCluster, startMeshCluster } from '../fixtures/mesh-cluster.ts';
import { type Figure, figure, median } from './figure.ts';

const NS = 'bench';
const PODS = 20;

/**
 * From the label to each pod's first encrypted byte on the wire, for 20 pods that call one another without a
 * pause, against the time the same pods need for a rolling restart: what a mesh of sidecars asks for.
 */
export default async function measure(): Promise<Figure[]> {
  const mesh = await startMeshCluster('bench');
  try {
    return await measureOn(mesh);
  } finally {
    if (process.env.KEEP !== '1') await mesh.remove();
  }
}

async function measureOn(mesh: MeshCluster): Promise<Figure[]> {
  await step(`${PODS} pods that call one another`, async () => {
    await createNamespace(mesh, NS);
    await mesh.apply([service(NS, 'peer', 8080, 8080), peers()]);
    await rolledOut(mesh);
  });
  const addresses = await podAddresses(mesh);
  const firstBytes = await step('Label, and wait for every pod’s first encrypted byte', async () => {
    const recording = await mesh.record();
    const labelledAt = Date.now();
    await mesh.kubectl('label', 'namespace', NS, 'mesh.tulle.dev/mode=ambient');
    await mesh.untilSecured(NS, PODS);
    const captures = await recording.end();
    const earliest = new Map<string, number>();
    for (const { file } of captures) {
      for (const flow of analyseCapture(file, addresses).flows) {
        const at = flow.tls?.firstEncryptedAt;
        if (at === undefined) continue;
        for (const { address } of [flow.client, flow.server]) {
          earliest.set(address, Math.min(earliest.get(address) ?? Number.POSITIVE_INFINITY, at / 1000 - labelledAt));
        }
      }
    }
    if (earliest.size !== PODS) note(`only ${earliest.size} of ${PODS} pods spoke across nodes`);
    return [...earliest.values()];
  });
  const restart = await step('Restart the same pods, for comparison', async () => {
    const begun = Date.now();
    await mesh.kubectl('-n', NS, 'rollout', 'restart', 'deployment/peer');
    await rolledOut(mesh);
    return Date.now() - begun;
  });
  const against = { baseline: restart / 1000, against: `rolling restart of the same ${PODS} pods` };
  return [
    figure('label to first encrypted byte, first pod', 's', Math.min(...firstBytes) / 1000, against),
    figure('label to first encrypted byte, median pod', 's', median(firstBytes) / 1000, against),
    figure('label to first encrypted byte, last pod', 's', Math.max(...firstBytes) / 1000, against),
  ];
}

/** Each pod serves, and opens a new connection to a random other one every 50 ms. */
function peers(): object {
  const script = `
    require('http').createServer((q, s) => s.end('ok')).listen(8080, '0.0.0.0');
    setInterval(() => require('http').get('http://peer:8080/', { agent: false }, (r) => r.resume()).on('error', () => {}), 50);
    process.on('SIGTERM', () => process.exit(0)); ${idle}`;
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'peer', namespace: NS },
    spec: {
      replicas: PODS,
      selector: { matchLabels: { app: 'peer' } },
      template: {
        metadata: { labels: { app: 'peer' } },
        spec: {
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: 'kubernetes.io/hostname',
              whenUnsatisfiable: 'DoNotSchedule',
              labelSelector: { matchLabels: { app: 'peer' } },
            },
          ],
          containers: [
            {
              name: 'app',
              image: appImage,
              imagePullPolicy: 'IfNotPresent',
              command: ['/usr/local/bin/node', '-e', script],
              readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  };
}

async function rolledOut(mesh: MeshCluster): Promise<void> {
  await mesh.kubectl('-n', NS, 'rollout', 'status', 'deployment/peer', '--timeout=180s');
}

async function podAddresses(mesh: MeshCluster): Promise<Set<string>> {
  let addresses: string[] = [];
  await until(
    `${PODS} pods have addresses`,
    async () => {
      const text = await mesh.kubectl('-n', NS, 'get', 'pods', '-o', 'jsonpath={.items[*].status.podIP}');
      addresses = text.trim().split(' ');
      return addresses.length === PODS;
    },
    { limitMs: 60_000 },
  );
  return new Set(addresses);
}
