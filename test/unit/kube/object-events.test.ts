import assert from 'node:assert/strict';
import type { ResourceEvent } from '@dot-i/k8s-operator';
import { Store } from '../../../src/kube/cache/store.ts';
import { ObjectEvents } from '../../../src/kube/controller/object-events.ts';
import type { KubeObject } from '../../../src/kube/objects.ts';

describe('events of a watched resource', () => {
  let store: Store<KubeObject>;
  let seen: string[];
  let fail: boolean;
  let events: ObjectEvents;
  const pass = () => events.reconcile('shop/a', new AbortController().signal);
  const pod = (resourceVersion: string, uid = 'u1'): KubeObject => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a', namespace: 'shop', uid, resourceVersion },
  });

  beforeEach(() => {
    store = new Store();
    seen = [];
    fail = false;
    events = new ObjectEvents(store, 'pods', async ({ type, meta }: ResourceEvent) => {
      if (fail) throw new Error('no');
      seen.push(`${type} ${meta.id} ${meta.name} ${meta.resourceVersion}`);
    });
  });

  it('are what each pass finds, whatever happened between two of them', async () => {
    store.set(pod('1'));
    await pass();
    store.set(pod('2'));
    store.set(pod('3'));
    await pass();
    store.remove('shop/a');
    await pass();
    assert.deepEqual(seen, ['ADDED pods.v1 a 1', 'MODIFIED pods.v1 a 3', 'DELETED pods.v1 a 3']);
    await pass();
    assert.equal(seen.length, 3);
  });

  it('come for an object that did not change, where something else asks for a look', async () => {
    store.set(pod('1'));
    await pass();
    await pass();
    assert.deepEqual(seen, ['ADDED pods.v1 a 1', 'MODIFIED pods.v1 a 1']);
  });

  it('tell of an object that another one has replaced', async () => {
    store.set(pod('1'));
    await pass();
    store.set(pod('5', 'u2'));
    await pass();
    assert.deepEqual(seen, ['ADDED pods.v1 a 1', 'DELETED pods.v1 a 1', 'ADDED pods.v1 a 5']);
  });

  it('come again, of the same type, when the callback failed', async () => {
    store.set(pod('1'));
    fail = true;
    await assert.rejects(pass());
    fail = false;
    await pass();
    store.remove('shop/a');
    fail = true;
    await assert.rejects(pass());
    fail = false;
    await pass();
    assert.deepEqual(seen, ['ADDED pods.v1 a 1', 'DELETED pods.v1 a 1']);
  });
});
