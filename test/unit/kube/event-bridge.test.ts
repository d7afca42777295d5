import assert from 'node:assert/strict';
import type { ResourceEvent } from '@dot-i/k8s-operator';
import type { ReflectorEvent } from '../../../src/kube/cache/reflector.ts';
import { EventBridge } from '../../../src/kube/controller/event-bridge.ts';
import type { KubeObject } from '../../../src/kube/objects.ts';

describe('the bridge to callbacks that take events', () => {
  let emit: (event: ReflectorEvent<KubeObject>) => void;
  let seen: string[];
  let fail: boolean;
  let bridge: EventBridge;
  const signal = new AbortController().signal;
  const pod = (resourceVersion: string): KubeObject => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a', namespace: 'shop', resourceVersion },
  });

  beforeEach(() => {
    seen = [];
    fail = false;
    const reflector = { path: '/api/v1/pods', hasSynced: true, onEvent: (handler: typeof emit) => (emit = handler) };
    bridge = new EventBridge(reflector, 'pods', async ({ type, meta }: ResourceEvent) => {
      if (fail) throw new Error('no');
      seen.push(`${type} ${meta.id} ${meta.name} ${meta.resourceVersion}`);
    });
    bridge.source.connect(() => {});
  });

  it('gives the events of a key in order, leaving out what was overtaken', async () => {
    emit({ type: 'added', object: pod('1') });
    emit({ type: 'modified', object: pod('2'), old: pod('1') });
    emit({ type: 'modified', object: pod('3'), old: pod('2') });
    emit({ type: 'deleted', object: pod('4') });
    await bridge.reconcile('shop/a', signal);
    assert.deepEqual(seen, ['ADDED pods.v1 a 1', 'MODIFIED pods.v1 a 3', 'DELETED pods.v1 a 4']);
    await bridge.reconcile('shop/a', signal);
    assert.equal(seen.length, 3);
  });

  it('gives an event again whose callback failed', async () => {
    emit({ type: 'added', object: pod('1') });
    fail = true;
    await assert.rejects(bridge.reconcile('shop/a', signal));
    fail = false;
    await bridge.reconcile('shop/a', signal);
    assert.deepEqual(seen, ['ADDED pods.v1 a 1']);
  });
});
