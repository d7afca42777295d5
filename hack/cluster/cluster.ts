import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { buildImages, type Image } from '../images/images.ts';
import { isAlive, processesWithVariable, run, startDaemon, until } from '../process.ts';
import { type Report, step } from '../steps.ts';
import { buildBinaries } from './binaries.ts';
import { type ClusterCertificates, makeCertificates } from './certificates.ts';
import { apiserverArguments, type ControlPlaneLayout, etcdArguments } from './control-plane.ts';
import { addNode, rebootNode, removeNode } from './further-nodes.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { type ClusterLayout, clusterLayout, type NodeLayout, processMark, serviceCidr, takeSlot } from './layout.ts';
import { createNetwork } from './network.ts';
import { configureNode, initPid, loadImage, runOnNode, startNode } from './node.ts';
import { corednsManifests } from './node-config.ts';
import { removeCluster } from './teardown.ts';
import { clusterTokens } from './tokens.ts';

/** A running cluster. */
export interface Cluster {
  readonly layout: ClusterLayout;
  readonly kubeconfig: string;
  readonly nodes: readonly NodeLayout[];
  kubectl(...args: string[]): Promise<string>;
  /** Applies manifests given as YAML or JSON text, or as objects. */
  apply(manifests: string | readonly object[]): Promise<string>;
  /** Imports images into every node. */
  loadImages(images: readonly Image[]): Promise<void>;
  /** Joins one more node, which `nodes` does not name, and imports images into it, in their order. */
  addNode(images: readonly Image[]): Promise<NodeLayout>;
  /** Ends a node at once and starts it again. */
  rebootNode(node: NodeLayout): Promise<void>;
  /** Ends a node that joined, and deletes its Node. */
  removeNode(node: NodeLayout): Promise<void>;
  /** Runs a command in all namespaces of a node. */
  onNode(node: NodeLayout, command: string, ...args: string[]): Promise<string>;
  /** Stops the API server, as an outage would; etcd and the nodes go on. */
  stopApiServer(): Promise<void>;
  startApiServer(): Promise<void>;
  remove(): Promise<void>;
}

export interface ClusterOptions {
  readonly name: string;
  readonly nodes: number;
  /** Where a copy of the administrator's kubeconfig is written, and beside it a link to kubectl. */
  readonly kubeconfig: string;
}

/** Starts a cluster, after removing whatever is left of an earlier one of this name. Prints its steps. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const program = await step('Kubernetes programs', (report) => buildBinaries(report));
  const images = await step('Cluster images', (report) => buildImages(['pause', 'coredns'], report));
  return await step(`Cluster ${options.name} with ${options.nodes} nodes`, async (report) => {
    report('removing what is left of an earlier one');
    await removeCluster(options.name);
    const slot = await takeSlot(options.name);
    const layout = clusterLayout(options.name, slot, options.nodes);
    mkdirSync(layout.folder, { recursive: true });
    chmodSync(layout.folder, 0o700);
    writeFileSync(join(layout.folder, 'cluster.json'), JSON.stringify({ slot, nodes: options.nodes }));
    const certificates = await makeCertificates(join(layout.folder, 'pki'), [layout.address, '10.96.0.1', '127.0.0.1']);
    const token = clusterTokens(layout);
    const server = `https://${layout.address}:6443`;
    writeKubeconfig(layout.kubeconfig, { server, caFile: certificates.ca, user: 'admin', token: token('admin') });

    report('network');
    await createNetwork(layout);
    report('control plane and nodes');
    for (const node of layout.nodes) configureNode(layout, node, { certificates, token });
    const binaries = dirname(program('kubelet'));
    const cluster = handle(layout, program);
    startEtcd(layout, program);
    await Promise.all([
      cluster.startApiServer().then(() => startControllers(layout, certificates, token, program)),
      ...layout.nodes.map((node) => startNode(layout, node, binaries)),
    ]);
    report('images');
    await cluster.loadImages(images);
    report('DNS and nodes');
    const coredns = images.find((image) => image.tag.includes('coredns'));
    if (coredns !== undefined) await cluster.apply(corednsManifests(coredns.tag));
    await ready(cluster, report);
    mkdirSync(dirname(options.kubeconfig), { recursive: true });
    copyFileSync(layout.kubeconfig, options.kubeconfig);
    const kubectl = join(dirname(options.kubeconfig), 'kubectl');
    rmSync(kubectl, { force: true });
    symlinkSync(program('kubectl'), kubectl);
    return cluster;
  });
}

/** The cluster of this name if all of it is running, with this many nodes. */
export async function findCluster(name: string, nodes?: number): Promise<Cluster | undefined> {
  const record = join(clusterLayout(name, 0, 0).folder, 'cluster.json');
  if (!existsSync(record)) return undefined;
  const found: { slot: number; nodes: number } = JSON.parse(readFileSync(record, 'utf8'));
  if (nodes !== undefined && found.nodes !== nodes) return undefined;
  const layout = clusterLayout(name, found.slot, found.nodes);
  if (layout.nodes.some((node) => initPid(node) === undefined)) return undefined;
  const program = await buildBinaries();
  const cluster = handle(layout, program);
  const answers = await cluster.kubectl('get', '--raw', '/readyz', '--request-timeout=5s').catch(() => '');
  return answers === 'ok' ? cluster : undefined;
}

/** Removes the copies that `startCluster` made at `kubeconfig` and beside it; they lead nowhere once the cluster is gone. */
export function removeAccess(kubeconfig: string): void {
  for (const file of [kubeconfig, join(dirname(kubeconfig), 'kubectl')]) rmSync(file, { force: true });
}

function handle(layout: ClusterLayout, program: (name: string) => string): Cluster {
  const kubectl = (args: readonly string[], input?: string) =>
    run(program('kubectl'), ['--kubeconfig', layout.kubeconfig, ...args], input === undefined ? {} : { input });
  const apiserverPid = () =>
    processesWithVariable(processMark, layout.name).filter((pid) => commandOf(pid).endsWith('kube-apiserver'));
  return {
    layout,
    kubeconfig: layout.kubeconfig,
    nodes: layout.nodes,
    kubectl: (...args) => kubectl(args),
    apply: (manifests) =>
      kubectl(
        ['apply', '--server-side', '--force-conflicts', '-f', '-'],
        typeof manifests === 'string'
          ? manifests
          : JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests }),
      ),
    loadImages: async (images) => {
      await Promise.all(
        layout.nodes.map(async (node) => {
          for (const image of images) await loadImage(node, image.archive);
        }),
      );
    },
    addNode: async (images) => {
      const node = await addNode(layout, dirname(program('kubelet')));
      for (const image of images) await loadImage(node, image.archive);
      return node;
    },
    rebootNode: (node) => rebootNode(layout, node, dirname(program('kubelet'))),
    removeNode: async (node) => {
      await removeNode(node);
      await kubectl(['delete', 'node', node.name, '--ignore-not-found']);
    },
    onNode: (node, command, ...args) => runOnNode(node, command, ...args),
    stopApiServer: async () => {
      const pids = apiserverPid();
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      // Its address is free only when its last thread has ended, a moment after it counts as dead.
      await until('the API server has ended', () => pids.every(hasLetGo), { limitMs: 10_000 });
    },
    startApiServer: async () => {
      const certificates = await makeCertificates(join(layout.folder, 'pki'), []);
      const args = apiserverArguments(controlPlane(layout), certificates, join(layout.folder, 'tokens.csv'));
      startOnMachine(layout, program, 'kube-apiserver', [...args, '--enable-admission-plugins=NodeRestriction']);
      await until(
        'the API server is ready',
        () =>
          kubectl(['get', '--raw', '/readyz', '--request-timeout=5s']).then(
            () => true,
            () => false,
          ),
        { limitMs: 90_000, everyMs: 200, explain: () => logTail(join(layout.folder, 'kube-apiserver.log')) },
      );
    },
    remove: () => removeCluster(layout.name),
  };
}

function controlPlane(layout: ClusterLayout): ControlPlaneLayout {
  return {
    folder: layout.folder,
    address: layout.address,
    apiserverPort: 6443,
    etcdPort: 2379,
    etcdPeerPort: 2380,
    serviceCidr,
  };
}

function startEtcd(layout: ClusterLayout, program: (name: string) => string): void {
  startOnMachine(layout, program, 'etcd', etcdArguments(controlPlane(layout)));
}

function startControllers(
  layout: ClusterLayout,
  certificates: ClusterCertificates,
  token: (user: string) => string,
  program: (name: string) => string,
): void {
  for (const component of ['kube-controller-manager', 'kube-scheduler']) {
    const kubeconfig = join(layout.folder, `${component}.kubeconfig`);
    const user = `system:${component}`;
    writeKubeconfig(kubeconfig, {
      server: `https://${layout.address}:6443`,
      caFile: certificates.ca,
      user,
      token: token(user),
    });
    const args = [`--kubeconfig=${kubeconfig}`, '--leader-elect=false', '--secure-port=0'];
    if (component === 'kube-controller-manager') {
      args.push(
        '--allocate-node-cidrs=false', // each node's CNI configuration names its range already
        '--use-service-account-credentials=true',
        `--root-ca-file=${certificates.ca}`,
        `--service-account-private-key-file=${certificates.serviceAccountKey}`,
        // Nodes cannot report while a test keeps the API server away: that must not make their pods unready.
        '--node-monitor-grace-period=180s',
      );
    }
    startOnMachine(layout, program, component, args);
  }
}

function startOnMachine(
  layout: ClusterLayout,
  program: (name: string) => string,
  name: string,
  args: readonly string[],
): void {
  startDaemon(program(name), args, {
    logFile: join(layout.folder, `${name}.log`),
    env: { [processMark]: layout.name },
    cwd: '/',
  });
}

/** Waits until all nodes are Ready and DNS answers. */
async function ready(cluster: Cluster, report: Report): Promise<void> {
  const explain = async () =>
    `${await cluster.kubectl('get', 'nodes,pods', '-A', '-o', 'wide').catch(String)}\n` +
    `see the logs below ${cluster.layout.folder}`;
  await until(
    'all nodes are Ready',
    async () => {
      const nodes = JSON.parse(await cluster.kubectl('get', 'nodes', '-o', 'json').catch(() => '{"items":[]}'));
      const up = nodes.items.filter((node: { status: { conditions?: { type: string; status: string }[] } }) =>
        node.status.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True'),
      ).length;
      report(`${up} of ${cluster.nodes.length} nodes Ready`);
      return up === cluster.nodes.length;
    },
    { limitMs: 120_000, everyMs: 300, explain },
  );
  report('CoreDNS');
  await cluster
    .kubectl('-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', '--timeout=120s')
    .catch(async (err) => {
      throw new Error(`CoreDNS does not become ready: ${String(err)}\n${await explain()}`);
    });
}

/** Whether the process is gone, or a zombie with no thread left that could hold a socket. */
function hasLetGo(pid: number): boolean {
  if (isAlive(pid)) return false;
  try {
    return readdirSync(`/proc/${pid}/task`).length <= 1;
  } catch {
    return true;
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? '';
  } catch {
    return '';
  }
}

function logTail(file: string): string {
  return readFileSync(file, 'utf8').split('\n').slice(-15).join('\n');
}
