import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { createCallerVerifier } from '../../src/ca/caller.ts';
import { kubernetesBundleStore, kubernetesSecretStore, kubernetesTokenReviewer } from '../../src/ca/kubernetes.ts';
import { livePodLookup } from '../../src/ca/kubernetes-pods.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { systemClock } from '../../src/kube/clock.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { type IssuingControl, startIssuingControl } from '../fixtures/ca/issuing-control.ts';

interface Token {
  readonly status: { readonly token: string };
}

interface Created {
  readonly metadata: { readonly uid: string };
}

describe('R01 who gets which certificate, against a real API server', function () {
  this.timeout(120_000);
  let api: ApiServer;
  let client: KubeClient;
  let control: IssuingControl;
  const proxyTokens: Record<string, string> = {};

  before(async () => {
    api = await startApiServer();
    client = KubeClient.fromFile(api.kubeconfig);
    for (const namespace of ['tulle-system', 'shop', 'bank']) {
      await client.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    }
    for (const [namespace, name] of [
      ['tulle-system', 'tulle-proxy'],
      ['tulle-system', 'tulle-control'],
      ['shop', 'tulle-proxy'],
      ['shop', 'cart'],
      ['shop', 'web'],
      ['bank', 'ledger'],
    ] as const) {
      await client.create(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name } });
    }
    for (const node of ['node-1', 'node-2']) {
      await client.create('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: node } });
      await pod('tulle-system', `proxy-${node}`, 'tulle-proxy', node);
      proxyTokens[node] = await podToken('tulle-system', `proxy-${node}`, 'tulle-proxy');
    }
    await pod('shop', 'cart-0', 'cart', 'node-1');
    await pod('shop', 'web-0', 'web', 'node-2');
    await pod('tulle-system', 'control-0', 'tulle-control', 'node-1');
    control = await startIssuingControl({
      secrets: kubernetesSecretStore(client),
      bundles: kubernetesBundleStore(client),
      callers: createCallerVerifier({ reviewer: kubernetesTokenReviewer(client), clock: systemClock }),
      pods: livePodLookup(client),
    });
  });

  after(async () => {
    control?.stop();
    await client?.close();
    await api?.stop();
  });

  it('R01 gives a proxy the identity of a pod that runs on its node', async () => {
    const { chain } = await control.ask({ token: proxyTokens['node-1'], identity: cart });
    assert.ok(chain, 'a chain');
    assert.equal(chain.length, 2);
    const leaf = new X509Certificate(chain[0] ?? '');
    assert.equal(leaf.subjectAltName, `URI:${cart}`);
    assert.ok(leaf.verify(new X509Certificate(chain[1] ?? '').publicKey));
  });

  it('R01 refuses a proxy the identity of a pod on another node', async () => {
    await refused({ token: proxyTokens['node-2'], identity: cart }, 'PERMISSION_DENIED', /shop\/sa\/cart.*node-2/);
  });

  it('R01 refuses an identity no pod has, one of another namespace, and one of another trust domain', async () => {
    const token = proxyTokens['node-1'];
    await refused({ token, identity: 'spiffe://cluster.local/ns/bank/sa/ledger' }, 'PERMISSION_DENIED');
    await refused({ token, identity: 'spiffe://cluster.local/ns/bank/sa/cart' }, 'PERMISSION_DENIED');
    await refused({ token, identity: 'spiffe://other.example/ns/shop/sa/cart' }, 'PERMISSION_DENIED');
  });

  it('R01 refuses the identity of the control plane, which runs on the same node and is never in the mesh', async () => {
    const identity = 'spiffe://cluster.local/ns/tulle-system/sa/tulle-control';
    await refused({ token: proxyTokens['node-1'], identity }, 'PERMISSION_DENIED', /never in the mesh/);
  });

  it('R01 refuses every other caller an identity that is not its own, a namesake of the proxy too', async () => {
    await pod('shop', 'fake-proxy', 'tulle-proxy', 'node-1');
    const namesake = await podToken('shop', 'fake-proxy', 'tulle-proxy');
    await refused({ token: namesake, identity: cart }, 'PERMISSION_DENIED', /only tulle-system\/tulle-proxy/);
    await pod('shop', 'web-1', 'web', 'node-1');
    await refused({ token: await podToken('shop', 'web-1', 'web'), identity: cart }, 'PERMISSION_DENIED');
  });

  it('gives a caller that asks for no identity, or for its own, its own', async () => {
    const token = await podToken('shop', 'cart-0', 'cart');
    for (const ask of [{ token }, { token, identity: cart }]) {
      const { chain } = await control.ask(ask);
      assert.equal(new X509Certificate(chain?.[0] ?? '').subjectAltName, `URI:${cart}`);
    }
  });

  it('R01 refuses a token whose pod is gone, also one it has just taken', async () => {
    await pod('tulle-system', 'proxy-old', 'tulle-proxy', 'node-1');
    const token = await podToken('tulle-system', 'proxy-old', 'tulle-proxy');
    assert.ok((await control.ask({ token, identity: cart })).chain);
    await remove('tulle-system', 'proxy-old');
    await refused({ token, identity: cart }, 'UNAUTHENTICATED');
  });

  it('R01 refuses a token whose pod was replaced by another of the same name', async () => {
    const first = await pod('tulle-system', 'proxy-again', 'tulle-proxy', 'node-1');
    const token = await podToken('tulle-system', 'proxy-again', 'tulle-proxy');
    assert.ok((await control.ask({ token, identity: cart })).chain);
    await remove('tulle-system', 'proxy-again');
    const second = await pod('tulle-system', 'proxy-again', 'tulle-proxy', 'node-1');
    assert.notEqual(first, second);
    await refused({ token, identity: cart }, 'UNAUTHENTICATED', new RegExp(first));
  });

  it('R01 refuses the identity of a pod that was deleted, or has ended', async () => {
    const identity = 'spiffe://cluster.local/ns/bank/sa/ledger';
    await pod('bank', 'ledger-0', 'ledger', 'node-1');
    assert.ok((await control.ask({ token: proxyTokens['node-1'], identity })).chain);
    await client.patch('/api/v1/namespaces/bank/pods/ledger-0/status', { status: { phase: 'Succeeded' } });
    await refused({ token: proxyTokens['node-1'], identity }, 'PERMISSION_DENIED');
    await remove('bank', 'ledger-0');
    await refused({ token: proxyTokens['node-1'], identity }, 'PERMISSION_DENIED');
  });

  it('R01 refuses the identity of a host-network pod', async () => {
    await pod('bank', 'ledger-host', 'ledger', 'node-1', { hostNetwork: true });
    await refused(
      { token: proxyTokens['node-1'], identity: 'spiffe://cluster.local/ns/bank/sa/ledger' },
      'PERMISSION_DENIED',
    );
  });

  it('R01 takes tokens of audience tulle-ca and istio-ca, bound to a pod, and no others', async () => {
    const istio = await podToken('tulle-system', 'proxy-node-1', 'tulle-proxy', 'istio-ca');
    assert.ok((await control.ask({ token: istio, identity: cart })).chain);
    const vault = await podToken('tulle-system', 'proxy-node-1', 'tulle-proxy', 'vault');
    await refused({ token: vault, identity: cart }, 'UNAUTHENTICATED');
    const unbound = await token('tulle-system', 'tulle-proxy', { audiences: ['tulle-ca'] });
    await refused({ token: unbound, identity: cart }, 'UNAUTHENTICATED', /not bound to a pod/);
    await refused({ token: api.adminToken, identity: cart }, 'UNAUTHENTICATED');
    await refused({ token: 'forged.token.here', identity: cart }, 'UNAUTHENTICATED');
    await refused({ identity: cart }, 'UNAUTHENTICATED');
  });

  const cart = 'spiffe://cluster.local/ns/shop/sa/cart';

  async function refused(ask: Parameters<IssuingControl['ask']>[0], status: string, details?: RegExp): Promise<void> {
    const { refused: refusal } = await control.ask(ask);
    assert.equal(refusal?.status, status);
    if (details !== undefined) assert.match(refusal.details, details);
    if (ask.token !== undefined) assert.ok(!refusal.details.includes(ask.token), 'no token in an error');
  }

  /** @returns the pod's UID */
  async function pod(namespace: string, name: string, serviceAccount: string, node: string, spec: object = {}) {
    const created = await client.create<Created>(`/api/v1/namespaces/${namespace}/pods`, {
      metadata: { name },
      spec: {
        nodeName: node,
        serviceAccountName: serviceAccount,
        containers: [{ name: 'main', image: 'none' }],
        ...spec,
      },
    });
    return created.metadata.uid;
  }

  /** At once: there is no kubelet that would confirm the end. */
  async function remove(namespace: string, name: string): Promise<void> {
    await client.delete(`/api/v1/namespaces/${namespace}/pods/${name}`, { gracePeriodSeconds: 0 });
  }

  async function podToken(namespace: string, podName: string, serviceAccount: string, audience = 'tulle-ca') {
    return token(namespace, serviceAccount, {
      audiences: [audience],
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: podName },
    });
  }

  async function token(namespace: string, serviceAccount: string, spec: object): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`;
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec };
    return (await client.create<Token>(path, request)).status.token;
  }
});
