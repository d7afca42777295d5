import assert from 'node:assert/strict';
import type { NodeLayout } from '../../hack/cluster/layout.ts';
import { loadImage } from '../../hack/cluster/node.ts';
import { buildImages, type Image } from '../../hack/images/images.ts';
import { until } from '../../hack/process.ts';
import { annotations, startupTaint } from '../../src/api/names.ts';
import type { Node, Pod } from '../../src/kube/objects.ts';
import { appImage, type MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace } from './workloads.ts';

const NS = 'joining';
const PODS = 12;

/** Says, before it does anything else, whether the proxy already listens where it runs. */
const watchful = `
  const { readFileSync } = require('fs');
  const sockets = ['tcp', 'tcp6'].flatMap((file) => readFileSync('/proc/net/' + file, 'utf8').trim().split('\\n').slice(1));
  const listening = sockets.map((line) => line.trim().split(/\\s+/)).filter((fields) => fields[3] === '0A');
  const ports = listening.map((fields) => parseInt(fields[1].split(':')[1], 16));
  console.log('in the mesh at start: ' + [15001, 15006, 15008].every((port) => ports.includes(port)));
  setInterval(() => {}, 1e6);
  process.on('SIGTERM', () => process.exit(0));`;

/** Pods that run on neither of the cluster's own nodes: they are bound the moment another takes pods. */
function crowd(replicas: number): object {
  const labels = { app: 'crowd' };
  const elsewhere = { key: 'kubernetes.io/hostname', operator: 'NotIn', values: ['node-1', 'node-2'] };
  const nodeSelectorTerms = [{ matchExpressions: [elsewhere] }];
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'crowd', namespace: NS },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'app',
              image: appImage,
              imagePullPolicy: 'IfNotPresent',
              command: ['/usr/local/bin/node', '-e', watchful],
            },
          ],
        },
      },
    },
  };
}

describe('R36 a node that joins under the mesh', () => {
  let mesh: MeshCluster;
  let joined: NodeLayout;
  let nodeImage: Image;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
    await mesh.apply([crowd(PODS / 2)]);
  });

  after(async function () {
    this.timeout(120_000);
    await mesh?.kubectl('delete', 'namespace', NS, '--wait=false');
    if (joined !== undefined) await mesh.removeNode(joined);
  });

  const joinedNode = () => mesh.json<Node>('get', 'node', joined.name);

  /** What each of the pods said first: a container runs before its process has said anything. */
  async function firstWords(): Promise<string[]> {
    const logs = ['logs', '-l', 'app=crowd', '--tail=-1', `--max-log-requests=${PODS}`];
    let lines: string[] = [];
    const allSpoke = async () => {
      lines = (await mesh.kubectl('-n', NS, ...logs)).split('\n').filter((line) => line !== '');
      return lines.length >= PODS;
    };
    await until('each pod has said whether it is in the mesh', allSpoke, { limitMs: 60_000, everyMs: 500 });
    return lines;
  }

  it('R36 runs no pod outside the mesh, while a Deployment scales onto it', async function () {
    this.timeout(600_000);
    // The application's image first: its pods could start before the agent's.
    const images = await buildImages(['pause', 'sample-shop', 'tulle', 'tulle-node']);
    const last = images.at(-1);
    assert.ok(last);
    nodeImage = last;
    const joining = mesh.addNode(images);
    await mesh.kubectl('-n', NS, 'scale', 'deployment/crowd', `--replicas=${PODS}`);
    joined = await joining;
    await mesh.kubectl('-n', NS, 'rollout', 'status', 'deployment/crowd', '--timeout=300s');
    assert.deepEqual(
      await firstWords(),
      Array.from({ length: PODS }, () => 'in the mesh at start: true'),
    );
    await mesh.untilSecured(NS, PODS);
    const { metadata, spec } = await joinedNode();
    assert.equal(metadata.annotations?.[annotations.served], metadata.uid);
    assert.ok(!spec?.taints?.some(({ key }) => key === startupTaint.key));
  });

  it('R36 when it restarts and has no agent yet, its pods wait, without the taint', async function () {
    this.timeout(600_000);
    // Without its image the agent cannot start: what holds the pods back is the plugin alone.
    await mesh.onNode(joined, 'ctr', '-n', 'k8s.io', 'images', 'rm', '--sync', nodeImage.tag);
    const restarted = Date.now() - 1000; // Events have whole seconds
    await mesh.rebootNode(joined);
    await until('each pod says what it waits for', async () => (await waitingSince(restarted)).size === PODS, {
      limitMs: 240_000,
      everyMs: 1_000,
      explain: () => mesh.kubectl('-n', NS, 'get', 'pods,events', '-o', 'wide'),
    });
    assert.deepEqual(await runningOn(joined), []);
    assert.ok(!(await joinedNode()).spec?.taints?.some(({ key }) => key === startupTaint.key));
    await loadImage(joined, nodeImage.archive);
    // New pods of the DaemonSets start at once; the kubelet has backed off from those that lacked their image.
    const there = [
      `--field-selector=spec.nodeName=${joined.name}`,
      '-l',
      'app.kubernetes.io/name in (tulle-agent,tulle-proxy)',
    ];
    await mesh.kubectl('-n', 'tulle-system', 'delete', 'pods', '--force', '--grace-period=0', ...there);
    await until('all pods run again', async () => (await restartedPods()) === PODS, {
      limitMs: 300_000,
      everyMs: 1_000,
      explain: () => mesh.kubectl('get', 'pods', '-A', '-o', 'wide'),
    });
    assert.deepEqual(
      await firstWords(),
      Array.from({ length: PODS }, () => 'in the mesh at start: true'),
    );
  });

  /** Pods of the crowd whose Events since then say that the agent is missing. */
  async function waitingSince(moment: number): Promise<Set<string>> {
    const { items } = await mesh.json<{
      items: { involvedObject: { name: string }; message?: string; lastTimestamp?: string }[];
    }>('-n', NS, 'get', 'events', '--field-selector', 'reason=FailedCreatePodSandBox');
    const recent = items.filter(({ lastTimestamp = '' }) => Date.parse(lastTimestamp) >= moment);
    const held = recent.filter(({ message }) => /tulle-agent/.test(message ?? ''));
    return new Set(held.map(({ involvedObject }) => involvedObject.name));
  }

  async function restartedPods(): Promise<number> {
    const { items } = await mesh.json<{ items: Pod[] }>('-n', NS, 'get', 'pods', '-l', 'app=crowd');
    const started = ({ status }: Pod) =>
      status?.containerStatuses?.every(({ ready, restartCount }) => ready && restartCount > 0) ?? false;
    return items.filter(started).length;
  }

  /** Containers of the crowd that the node's runtime runs now: what the API server was told may be of before. */
  async function runningOn(node: NodeLayout): Promise<string[]> {
    const tasks = await mesh.onNode(node, 'ctr', '-n', 'k8s.io', 'tasks', 'list');
    const containers = await mesh.onNode(node, 'ctr', '-n', 'k8s.io', 'containers', 'list');
    const ofApp = containers.split('\n').filter((line) => line.includes(appImage));
    const ids = new Set(ofApp.map((line) => line.split(/\s+/)[0]));
    const running = tasks.split('\n').filter((line) => line.includes('RUNNING'));
    return running.map((line) => line.split(/\s+/)[0] ?? '').filter((id) => ids.has(id));
  }
});
