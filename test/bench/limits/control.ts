import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { CertificateClient } from '../../fixtures/ca/certificate-client.ts';
import { ControlCluster } from '../../integration/control-cluster.ts';
import { XdsProxy } from '../../integration/xds-proxy.ts';
import { connectionFloods } from './connection-floods.ts';
import type { Probe, Target } from './measure.ts';

const identity = 'spiffe://cluster.local/ns/shop/sa/cart';

/** A tulle-control as a process of its own, on a real API server, with a node proxy that calls it. */
export async function controlTarget(): Promise<Target> {
  const cluster = await ControlCluster.start();
  const { child, port } = await startControl(cluster);
  const roots = await cluster.roots();
  const proxyToken = await cluster.proxyToken('proxy-node-1');
  const client = new CertificateClient(port, roots);
  return {
    name: 'tulle-control',
    probes: [issue(client, proxyToken), discover(port, roots, proxyToken)],
    floods: connectionFloods(port, await cluster.proxyToken('cart-0', 'cart', 'shop')),
    pid: child.pid ?? 0,
    // A shorter pause, and the callers' own address would come more often than it may.
    pace: { warmUpMs: 5_000, measureMs: 12_000, pauseMs: 500 },
    async stop() {
      client.close();
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGTERM');
      await ended;
      await cluster.stop();
    },
  };
}

async function startControl(cluster: ControlCluster) {
  await cluster.mesh({});
  await cluster.namespace('shop', 'cart');
  await cluster.pod({ name: 'cart-0', serviceAccount: 'cart', ip: '10.1.0.1' });
  const child = spawn(process.execPath, ['src/cmd/control.ts'], {
    env: {
      PATH: process.env.PATH ?? '',
      KUBECONFIG: cluster.api.kubeconfig,
      TULLE_GRPC_PORT: '0',
      TULLE_HTTP_PORT: '0',
      TULLE_LEAVE_MS: '10',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface(child.stdout);
  const port = await new Promise<number>((resolve, reject) => {
    lines.on('line', (text) => {
      const line: { msg?: string; grpcPort?: number } = JSON.parse(text);
      if (line.msg === 'serving') resolve(line.grpcPort ?? 0);
    });
    child.once('close', (code) => reject(new Error(`tulle-control ended with ${code} before it served`)));
  });
  return { child, port };
}

/** On a connection that is there. */
function issue(client: CertificateClient, token: string): Probe {
  return {
    name: 'issue a certificate',
    async call() {
      const { refused } = await client.ask({ token, identity });
      if (refused !== undefined) throw new Error(`${refused.status}: ${refused.details}`);
    },
  };
}

/** On a connection of its own. */
function discover(port: number, roots: string, token: string): Probe {
  return {
    name: 'connect, and hear of the mesh',
    async call() {
      const proxy = new XdsProxy({ port, roots, token });
      try {
        const ended = proxy.open();
        proxy.subscribe();
        const refused = ended.then(({ status, details }) => {
          throw new Error(`${status}: ${details}`);
        });
        await Promise.race([proxy.next(), refused]);
        refused.catch(() => {});
      } finally {
        proxy.close();
      }
    },
  };
}
