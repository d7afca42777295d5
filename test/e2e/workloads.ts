import { appImage, type MeshCluster } from '../fixtures/mesh-cluster.ts';

export interface PodOptions {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  /** JavaScript that the pod's only process runs. */
  readonly script: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly serviceAccount?: string;
  readonly hostNetwork?: boolean;
  readonly hostPort?: number;
  readonly probePort?: number;
}

/** A pod that runs a few lines of JavaScript. */
export function pod(options: PodOptions): object {
  const container: Record<string, unknown> = {
    name: 'app',
    image: appImage,
    imagePullPolicy: 'IfNotPresent',
    command: ['/usr/local/bin/node', '-e', options.script],
  };
  if (options.hostPort !== undefined) {
    container.ports = [{ containerPort: 8080, hostPort: options.hostPort }];
  }
  if (options.probePort !== undefined) {
    container.readinessProbe = { tcpSocket: { port: options.probePort }, periodSeconds: 1 };
    container.livenessProbe = {
      httpGet: { path: '/', port: options.probePort },
      periodSeconds: 2,
      failureThreshold: 2,
    };
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: options.name, namespace: options.namespace, labels: { app: options.name, ...options.labels } },
    spec: {
      nodeName: options.node,
      serviceAccountName: options.serviceAccount ?? 'default',
      hostNetwork: options.hostNetwork ?? false,
      terminationGracePeriodSeconds: 1,
      containers: [container],
    },
  };
}

/** Makes a namespace, labelled with a mode if one is given, in which pods can be made. */
export async function createNamespace(mesh: MeshCluster, name: string, mode?: string): Promise<void> {
  const labels = mode === undefined ? {} : { 'mesh.tulle.dev/mode': mode };
  await mesh.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }]);
  // A controller makes it a moment later, or, after an outage of the API server, when it has backed off no
  // longer; no pod is accepted before.
  await mesh.kubectl('-n', name, 'wait', '--for=create', 'serviceaccount/default', '--timeout=120s');
}

export function service(namespaceName: string, name: string, port: number, target: number): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: namespaceName, name },
    spec: { selector: { app: name }, ports: [{ port, targetPort: target }] },
  };
}

/** Answers every HTTP request with the client's address. */
export const httpServer = (port = 8080) => `
  require('http').createServer((q, s) => s.end(q.socket.remoteAddress)).listen(${port}, '0.0.0.0');
  process.on('SIGTERM', () => process.exit(0));`;

/** Does nothing but be there. */
export const idle = `setInterval(() => {}, 1e6); process.on('SIGTERM', () => process.exit(0));`;

/** Runs JavaScript in a pod and returns what it prints. */
export function runIn(mesh: MeshCluster, namespaceName: string, podName: string, script: string): Promise<string> {
  return mesh.kubectl('-n', namespaceName, 'exec', podName, '--', '/usr/local/bin/node', '-e', script);
}

/** GETs a URL in a pod: `200 <body>`, or the error's code. */
export async function get(mesh: MeshCluster, namespaceName: string, podName: string, url: string): Promise<string> {
  const script = `
    require('http').get('${url}', { timeout: 5000, agent: false }, (r) => { let b = ''; r.on('data', (d) => b += d);
      r.on('end', () => console.log(r.statusCode + ' ' + b)); r.on('error', (e) => console.log(e.code)); })
      .on('timeout', function () { this.destroy(Object.assign(new Error(), { code: 'TIMEOUT' })); })
      .on('error', (e) => console.log(e.code));`;
  return (await runIn(mesh, namespaceName, podName, script)).trim();
}

export async function podAddress(mesh: MeshCluster, namespaceName: string, podName: string): Promise<string> {
  return (await mesh.kubectl('-n', namespaceName, 'get', 'pod', podName, '-o', 'jsonpath={.status.podIP}')).trim();
}

export async function waitReady(mesh: MeshCluster, namespaceName: string, ...pods: string[]): Promise<void> {
  const names = pods.map((name) => `pod/${name}`);
  await mesh.kubectl('-n', namespaceName, 'wait', '--for=condition=Ready', ...names, '--timeout=60s');
}

export function setMode(mesh: MeshCluster, mode: string): Promise<string> {
  return mesh.kubectl('patch', 'mesh', 'default', '--type=merge', '-p', JSON.stringify({ spec: { mtls: { mode } } }));
}
