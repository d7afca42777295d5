import assert from 'node:assert/strict';
import type { Caller } from '../../../src/ca/issuance/caller.ts';
import { entitle } from '../../../src/ca/issuance/entitlement.ts';
import type { PodLookup } from '../../../src/ca/issuance/pod-lookup.ts';
import { podRecord, watchedPodLookup } from '../../../src/ca/kubernetes/pods.ts';
import { parseTrustDomain } from '../../../src/ca/x509/spiffe-id.ts';
import type { Pod } from '../../../src/kube/objects.ts';
import { podOf, pods, proxyPod } from '../../fixtures/ca/callers.ts';

const trustDomain = parseTrustDomain('cluster.local');
const cart = 'spiffe://cluster.local/ns/shop/sa/cart';
const proxy: Caller = {
  namespace: 'tulle-system',
  serviceAccount: 'tulle-proxy',
  pod: { name: 'proxy-1', uid: 'uid-proxy-1' },
  node: 'node-1',
};

describe('which identity a caller may have', () => {
  it('R01 a proxy: that of a pod on its node', async () => {
    assert.deepEqual(await entitle(proxy, cart, trustDomain, pods([proxyPod, podOf()])), { id: cart, node: 'node-1' });
  });

  for (const phase of ['Pending', 'Running', 'Unknown']) {
    it(`R01 a proxy: that of a pod in phase ${phase}`, async () => {
      assert.ok(await entitle(proxy, cart, trustDomain, pods([proxyPod, podOf({ phase })])));
    });
  }

  for (const [what, change] of [
    ['on another node', { node: 'node-2' }],
    ['not yet on a node', { node: undefined }],
    ['of another namespace', { namespace: 'bank' }],
    ['of another service account', { serviceAccount: 'web' }],
    ['that succeeded', { phase: 'Succeeded' }],
    ['that failed', { phase: 'Failed' }],
    ['in the host network', { hostNetwork: true }],
    ['without a service account', { serviceAccount: undefined }],
  ] as const) {
    it(`R01 a proxy: not that of a pod ${what}`, async () => {
      await denied(proxy, cart, pods([proxyPod, podOf(change)]));
    });
  }

  for (const [what, change] of [
    ['is not there', undefined],
    ['has another UID', { uid: 'uid-proxy-2' }],
    ['has ended', { phase: 'Failed' }],
    ['is on another node than its token says', { node: 'node-2' }],
    ['has another service account', { serviceAccount: 'default' }],
  ] as const) {
    it(`R01 nobody whose own pod ${what}, with impersonation or without`, async () => {
      const lookup = pods([...(change === undefined ? [] : [{ ...proxyPod, ...change }]), podOf()]);
      for (const requested of [cart, undefined]) {
        await assert.rejects(entitle(proxy, requested, trustDomain, lookup), { code: 'CallerUnauthenticated' });
      }
    });
  }

  it('R01 a proxy: a pod that the copy does not have yet is looked up', async () => {
    assert.ok(await entitle(proxy, cart, trustDomain, pods([proxyPod], [proxyPod, podOf()])));
    assert.ok(await entitle(proxy, cart, trustDomain, pods([], [proxyPod, podOf()])));
  });

  it('R01 a proxy whose pod took the name of an older one that the copy still has', async () => {
    const old = { ...proxyPod, uid: 'uid-old' };
    assert.ok(await entitle(proxy, cart, trustDomain, pods([old, podOf()], [proxyPod, podOf()])));
  });

  it('R01 everybody: their own, asked for or not', async () => {
    const caller: Caller = {
      namespace: 'shop',
      serviceAccount: 'cart',
      pod: { name: 'cart-0', uid: 'uid-cart-0' },
      node: 'node-1',
    };
    for (const requested of [undefined, cart]) {
      assert.equal((await entitle(caller, requested, trustDomain, pods([podOf()]))).id, cart);
    }
  });

  for (const change of [
    { serviceAccount: 'tulle-agent' },
    { serviceAccount: 'tulle-control' },
    { namespace: 'shop' },
  ]) {
    it(`R01 nobody but the node proxy another's: ${JSON.stringify(change)}`, async () => {
      await denied({ ...proxy, ...change }, cart, pods([{ ...proxyPod, ...change }, podOf()]));
    });
  }

  for (const namespace of ['tulle-system', 'kube-system']) {
    it(`R01 nobody that of a pod of ${namespace}`, async () => {
      const pod = podOf({ namespace, serviceAccount: 'x' });
      await denied(proxy, `spiffe://cluster.local/ns/${namespace}/sa/x`, pods([proxyPod, pod]));
    });
  }

  it('R01 nobody one of another trust domain, though a pod of that name runs here', async () => {
    await denied(proxy, 'spiffe://other.example/ns/shop/sa/cart', pods([proxyPod, podOf()]));
  });

  for (const requested of [
    '',
    'cart',
    'spiffe://cluster.local',
    'spiffe://cluster.local/ns/shop',
    `${cart}/`,
    `${cart}/../admin`,
  ]) {
    it(`R04 nobody the malformed ${JSON.stringify(requested)}`, async () => {
      await assert.rejects(entitle(proxy, requested, trustDomain, pods([proxyPod, podOf()])), {
        code: 'SpiffeIdInvalid',
      });
    });
  }

  it('R01 the node of a token from an API server that does not say it is that of the pod', async () => {
    const caller = { ...proxy, node: undefined };
    assert.ok(await entitle(caller, cart, trustDomain, pods([proxyPod, podOf()])));
    await denied(caller, cart, pods([{ ...proxyPod, node: 'node-2' }, podOf()]));
    await denied(caller, cart, pods([{ ...proxyPod, node: undefined }, podOf({ node: undefined })]));
  });

  async function denied(caller: Caller, requested: string, lookup: PodLookup): Promise<void> {
    await assert.rejects(entitle(caller, requested, trustDomain, lookup), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'CallerNotPermitted');
      assert.ok(error.message.includes(requested), 'names what was asked for');
      return true;
    });
  }
});

describe('pods as a lookup gives them', () => {
  const pod: Pod = { metadata: { name: 'cart-0', namespace: 'shop', uid: 'u' }, spec: { nodeName: 'node-1' } };

  it('have the defaults of Kubernetes where the object says nothing', () => {
    const { phase, hostNetwork } = podRecord(pod);
    assert.deepEqual({ phase, hostNetwork }, { phase: 'Pending', hostNetwork: false });
  });

  it('R01 have no service account where the object says none, and none as mirror pods: a kubelet can write those', async () => {
    const annotations = { 'kubernetes.io/config.mirror': 'hash' };
    const mirrors: Pod[] = [
      pod,
      { ...pod, spec: { ...pod.spec, serviceAccountName: '' } },
      { metadata: { ...pod.metadata, annotations }, spec: { ...pod.spec, serviceAccountName: 'default' } },
    ];
    for (const mirror of mirrors) {
      assert.equal(podRecord(mirror).serviceAccount, undefined);
      const lookup = pods([proxyPod, podRecord(mirror)]);
      const id = 'spiffe://cluster.local/ns/shop/sa/default';
      await assert.rejects(entitle(proxy, id, trustDomain, lookup), { code: 'CallerNotPermitted' });
    }
  });

  it('come from the copy, and from the API server when a fresh answer is asked for', async () => {
    const watched = { get: (key: string) => (key === 'shop/cart-0' ? pod : undefined), onNode: () => [pod] };
    const lookup = watchedPodLookup(watched, pods([podOf({ uid: 'live' })]));
    assert.equal((await lookup.podByName('shop', 'cart-0'))?.uid, 'u');
    assert.equal((await lookup.podByName('shop', 'cart-0', { fresh: true }))?.uid, 'live');
    assert.equal(await lookup.podByName('shop', 'other'), undefined);
    assert.deepEqual(
      (await lookup.podsOnNode('node-1')).map((each) => each.uid),
      ['u'],
    );
    assert.deepEqual(
      (await lookup.podsOnNode('node-1', { fresh: true })).map((each) => each.uid),
      ['live'],
    );
  });
});
